"""Control tasks on plants that hide something: what demonstrations and studies are made of.

task        Task, Logging, Control, Score: the nouns
swing_up    Attempts, SwingUp: up and hold
following   Motions, Following: after a reference
observing   what models know beyond a plant's state, in closed loop
oracle      a model that knows what is hidden
named       TASKS, those of demonstrations by name
study_tasks STUDY_TASKS, six systems with five hidden effects each
"""
