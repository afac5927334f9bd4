"""Chaos: kills the processes of a real stack under load and judges what became of the work.

``python -m tests.chaos --seed 7 --kills 50 --shape embedded``; docs/chaos.md says more.
"""
