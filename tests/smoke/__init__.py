"""What has to work once workpool is installed, and nothing else."""
