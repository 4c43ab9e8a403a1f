"""The job queue, and the worker process that runs its jobs."""
