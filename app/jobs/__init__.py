"""The queue's edge: the arq adapter, the runner around every job, one job coroutine per operation kind."""
