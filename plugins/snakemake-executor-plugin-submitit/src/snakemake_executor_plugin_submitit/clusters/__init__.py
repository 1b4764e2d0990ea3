"""The places that run packs: a SLURM cluster, or this machine."""
