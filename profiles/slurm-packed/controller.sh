#!/bin/bash
# Snakemake in a SLURM job of its own, where no process may stay on the login node:
#     sbatch profiles/slurm-packed/controller.sh [arguments of Snakemake]
# Before its time limit it leaves the jobs of the study and returns to the queue. When it starts again, it takes
# them over. `scancel` it to cancel the study. docs/cluster.md has the details.
#SBATCH --job-name=controller --cpus-per-task=1 --mem=4G --time=1-00:00:00
#SBATCH --requeue --open-mode=append --signal=B:HUP@300

# After a failed node, the lock is that of this job's own earlier start.
[ "${SLURM_RESTART_COUNT:-0}" = 0 ] || snakemake --profile profiles/slurm-packed "$@" --unlock

snakemake --profile profiles/slurm-packed "$@" &
controller=$!
for signal in HUP TERM; do
    trap "told=yes; kill -$signal $controller" $signal
done
# A signal ends `wait`, while Snakemake still ends.
while told=; wait $controller; status=$?; [ "$told" ]; do :; done
# Snakemake has left its jobs at SIGHUP.
[ $status != 129 ] || exec scontrol requeue "$SLURM_JOB_ID"
exit $status
