"""Real processes, random faults at random times, and what must still be true afterwards.

``python -m tests.chaos --faults N --seed S``, or ``make chaos``. The plan is a pure function of the seed; what the
machine makes of it is not, so a failing seed may need more than one run.
"""
