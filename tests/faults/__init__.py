"""Workers, tasks and machines that fail on purpose."""
