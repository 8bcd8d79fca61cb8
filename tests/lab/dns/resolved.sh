# Prints the addresses that systemd-resolved finds for a name, in a pod. It lives as long as this, and is told of the pod's
# resolvers and search list as a distribution would tell it; programs ask it through its module for the C library.
#
# ROOT: where its packages are unpacked; FOLDER: for files of this test.
ROOT=$1 FOLDER=$2 NAME=$3
set -e
LIBRARIES=/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$ROOT$LIBRARIES/systemd:$ROOT$LIBRARIES:$ROOT/lib/x86_64-linux-gnu

# Its user, which the package would have made, and its folders: in this mount namespace alone.
mount --make-rprivate /
mount -t tmpfs tmpfs /run/systemd
for file in passwd group; do
    cp /etc/$file "$FOLDER/$file"
done
echo 'systemd-resolve:x:990:990::/:/usr/sbin/nologin' >> "$FOLDER/passwd"
echo 'systemd-resolve:x:990:' >> "$FOLDER/group"
for file in passwd group; do
    mount --bind "$FOLDER/$file" /etc/$file
done
mkdir -p /run/systemd/resolve /run/systemd/resolved.conf.d
chown 990:990 /run/systemd/resolve
{
    echo '[Resolve]'
    echo "DNS=$(sed -n 's/^nameserver //p' /etc/resolv.conf | tr '\n' ' ')"
    echo "Domains=$(sed -n 's/^search //p' /etc/resolv.conf)"
    echo 'LLMNR=no'
    echo 'MulticastDNS=no'
} > /run/systemd/resolved.conf.d/pod.conf

"$ROOT/lib/systemd/systemd-resolved" 2> "$FOLDER/resolved.log" &
trap 'kill $!' EXIT
for _ in $(seq 200); do
    if [ -S /run/systemd/resolve/io.systemd.Resolve ]; then
        # 2: there is no such name.
        getent -s resolve ahosts "$NAME" || [ $? -eq 2 ]
        exit
    fi
    sleep 0.05
done
cat "$FOLDER/resolved.log" >&2
exit 1
