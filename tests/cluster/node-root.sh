#!/bin/sh
# The first thing in a node's namespaces: makes <root> the root of its file system, then waits for ever as process 1.
#   node-root.sh <root> <binaries> <pause>
#
# Programs and their settings are this machine's (/usr, /etc); binaries of the cluster are at /opt/bin; everything a node
# writes (/run, /var, /cluster) is an ordinary folder below <root>. The mounts are private, so they vanish with the node.
set -eu
root=$1 binaries=$2 pause=$3

mount --bind "$root" "$root"
cd "$root"
mkdir -p usr etc proc sys dev opt/bin sbin.node run var/lib var/log tmp old cluster/sysctl
ln -s /run var/run
for name in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$name" ]; then ln -s "$(readlink "/$name")" "$name"
  elif [ -d "/$name" ]; then mkdir "$name"; mount --bind "/$name" "$name"; fi
done
mount --rbind /usr usr
mount --bind /etc etc && mount -o remount,bind,ro etc
mount --bind "$binaries" opt/bin && mount -o remount,bind,ro opt/bin
mount --rbind /dev dev
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
cp "$pause" sbin.node/pause

# The kubelet wants these settings and would write them. They belong to the whole kernel, so it gets files instead.
pretend() {
  [ -e "proc/sys/$1" ] || return 0
  file=cluster/sysctl/$(echo "$1" | tr / .)
  echo "$2" >"$file"
  mount --bind "$file" "proc/sys/$1"
}
pretend vm/overcommit_memory 1
pretend vm/panic_on_oom 0
pretend kernel/panic 10
pretend kernel/panic_on_oops 1
pretend kernel/keys/root_maxkeys 1000000
pretend kernel/keys/root_maxbytes 25000000

pivot_root . old
cd /
umount -l old
rmdir old
mount --make-rshared /   # pods' mounts must reach the kubelet and the other way round
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
touch /cluster/ready
exec /sbin.node/pause
