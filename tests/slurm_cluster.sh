#!/usr/bin/env bash
# A private Slurm for tests: munged, slurmctld and two slurmd on 127.0.0.1, each node with one
# pretended GPU. Needs root, and the packages slurm-wlm and munge.
#
#   tests/slurm_cluster.sh start|stop FOLDER      then: export SLURM_CONF=FOLDER/slurm.conf
set -euo pipefail
command=$1
folder=$(cd "$2" && pwd -P)
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin:/sbin
nodes=(n1 n2)

fail() { echo "slurm_cluster: $*; see $folder/log" >&2; exit 1; }
# wait_for TENTHS COMMAND...
wait_for() {
    local left=$1
    shift
    until "$@" >/dev/null 2>&1; do
        ((left-- > 0)) || return 1
        sleep 0.1
    done
}
# A zombie that nobody has reaped yet has no command line.
is_gone() { [[ -z $(tr -d '\0' 2>/dev/null <"/proc/$1/cmdline") ]]; }
is_serving() { [[ $(sinfo --noheader -N -o '%N %T' | sort -u | grep -c ' idle$') == "${#nodes[@]}" ]]; }

configure() { # configure PORT
    local port=$1 node
    mkdir -p "$folder"/{run,log,state,munge}
    chmod 0755 "$folder" "$folder"/{run,log,munge}
    chmod 0700 "$folder/state"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
    # Slurm insists on device nodes for GPUs: each is one more /dev/null.
    [[ -c $folder/gpu0 ]] || mknod "$folder/gpu0" c 1 3
    cat >"$SLURM_CONF" <<CONF
ClusterName=local
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/sock
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=100000,bf_interval=1
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
ReturnToService=2
KillWait=2
GresTypes=gpu
DefMemPerCPU=64
CONF
    : >"$folder/gres.conf"
    for node in "${nodes[@]}"; do
        mkdir -p "$folder/spool.$node"
        port=$((port + 1))
        echo "NodeName=$node NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$port CPUs=8" \
            "RealMemory=2048 Gres=gpu:1 State=UNKNOWN" >>"$SLURM_CONF"
        echo "NodeName=$node Name=gpu File=$folder/gpu0" >>"$folder/gres.conf"
    done
    echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9" >>"$SLURM_CONF"
}

start() {
    local node
    configure $((20000 + $$ % 10000))
    munged --key-file="$folder/munge/key" --socket="$folder/munge/sock" --force --num-threads=2 \
        --pid-file="$folder/run/munged.pid" --log-file="$folder/log/munged.log" \
        --seed-file="$folder/munge/seed" || fail "munged does not start"
    wait_for 100 test -S "$folder/munge/sock" || fail "munged does not answer"
    slurmctld -f "$SLURM_CONF" || fail "slurmctld does not start"
    for node in "${nodes[@]}"; do
        slurmd -f "$SLURM_CONF" -N "$node" || fail "slurmd does not start"
    done
    wait_for 300 is_serving || fail "the nodes do not come up"
}

stop() {
    local file pid variables
    if [[ -e $folder/run/slurmctld.pid ]]; then
        timeout 5 scancel --quiet --user=root || true
        timeout 5 scancel --quiet --user=root --signal=KILL || true
    fi
    for file in "$folder"/run/slurmctld.pid "$folder"/run/slurmd.*.pid "$folder"/run/munged.pid; do
        pid=$(cat "$file" 2>/dev/null) || continue
        # Only what is this cluster's: the id may be somebody else's by now.
        tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$folder/" || continue
        kill "$pid" || true
        wait_for 30 is_gone "$pid" || kill -9 "$pid" || true
    done
    # Step daemons and tasks of this cluster that outlived it.
    for file in /proc/[0-9]*; do
        variables=$(tr '\0' '\n' 2>/dev/null <"$file/environ") || continue
        grep -qxF "SLURM_CONF=$SLURM_CONF" <<<"$variables" || continue
        if grep -q '^SLURMD_NODENAME=' <<<"$variables" || grep -qx slurmstepd "$file/comm"; then
            kill -9 "${file#/proc/}" 2>/dev/null || true
        fi
    done
}

case $command in
start | stop) "$command" ;;
*) fail "$command: expected start or stop" ;;
esac
