from __future__ import annotations
import casadi as ca
from benchmarks.studies import *
from hybridmodel import placement
from physics import DoublePendulum

def of_force(seed, quick):
    system = DoublePendulum()

    def law(x, u, p, d):
        friction = ca.vertcat(0.5 * ca.tanh(x[2] / 0.3), 0.2 * ca.tanh(x[3] / 0.3)) 
        return system.forced_dynamics(x, u, -friction, p, d)

    truth = Truth(system=system, law=law)
    plan = Plan(dt=0.02, steps=150, count=6, start=(1.5, 1.5, 2, 2))
    train, validation, test = split(truth, plan, seed)
    errors = {}
    import time
    t=time.perf_counter(); c=time.process_time()
    for place in (placement.acceleration, placement.force):
        model = placed(system, seed, plan.dt, place)
        model = trained(model, train, validation, quick)
        errors[place.name] = error(model, test, 50)
        print(place.name, time.perf_counter()-t, time.process_time()-c)
    errors = {"physics": error(physics_of(model), test, 50)} | errors
    return rivals("free-run error over 50 steps", errors, "force", "acceleration")
