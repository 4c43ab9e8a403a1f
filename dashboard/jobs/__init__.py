"""The queue of trainings and the process that works it off."""
