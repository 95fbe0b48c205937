"""Control tasks on plants that hide something: what demonstrations and studies are made of.

task        Task, Logging, Control, Score: the nouns
swing_up    Attempts, SwingUp: up and hold
following   Motions, Following: after a reference
named       TASKS, all of them by name
"""
