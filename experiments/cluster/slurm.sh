#!/bin/bash
# SHARED=FOLDER sbatch experiments/cluster/slurm.sh
#SBATCH --job-name=alexnet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --requeue

# Each node runs one worker, which uses all GPUs of the node. A job that is requeued
# after a failure resumes from the last checkpoint. FOLDER is a directory that all nodes
# can read and write.
srun python -m alexnet_tf.train --strategy=multi_worker \
    --dataset=imagenet2012_256 --data_dir="$SHARED/tensorflow_datasets" \
    --workdir="$SHARED/runs/imagenet2012-paper" --batch_size=2048
