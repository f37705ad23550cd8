# What a container alone on a stack's network can reach. Its arguments: how many addresses to connect to,
# these addresses, then the name servers to ask. One line for each; the last says that nothing was cut off.
#
# A default route is no fault by itself: Docker Engine 20.10 always sets one, to an address that is nobody's
# on a closed network. Whether it is nobody's is asked at the link, where no firewall answers for the host.
b=/.airlock/bin/busybox
cd /tmp || exit 1
echo "network-probe 2"

ipv6=none
if [ -r /proc/net/if_inet6 ]; then
    while read -r address index prefix scope rest; do
        # 20 is the link's own, 10 the loopback's.
        case $scope in 10 | 20) ;; *) ipv6=there ;; esac
    done </proc/net/if_inet6
fi
echo "address ipv6 $ipv6"

connect() {
    if answer=$($b timeout 4 $b nc -w 3 "${1%:*}" "${1##*:}" </dev/null 2>&1); then
        word=connected
    elif [ $? = 143 ]; then
        word=silent
    else
        case $answer in
        *nreachable* | *"annot assign"* | *"o route"*) word=unreachable ;;
        *refused* | *reset*) word=refused ;;
        *"timed out"*) word=silent ;;
        *) word=unknown ;;
        esac
    fi
    echo "connect $1 $word"
}

# The name is reserved (RFC 2606): whoever has a way to the world says that it does not exist.
ask() {
    answer=$($b timeout 8 $b nslookup -type=a airlock-probe.example. "$1" 2>&1)
    case $answer in
    *NXDOMAIN* | *Name:* | *REFUSED* | *"arse error"*) word=answered ;;
    *SERVFAIL*) word=servfail ;;
    *"onnection refused"*) word=refused ;;
    *nreachable* | *"annot assign"* | *"o route"*) word=unreachable ;;
    *"timed out"*) word=silent ;;
    *) word=unknown ;;
    esac
    echo "ask $1 $word"
}

number=0
# At most so many at once that the container's processes suffice.
begin() {
    number=$((number + 1))
    "$@" >"answer-$number" &
    [ $((number % 48)) = 0 ] && wait
}
(
    $b sleep 1
    $b cat /proc/net/arp
) >neighbours-1 &
connects=$1
shift
while [ "$connects" -gt 0 ]; do
    begin connect "$1"
    shift
    connects=$((connects - 1))
done
for server in "$@"; do
    begin ask "$server"
done
wait
$b cat answer-*
$b cat /proc/net/arp >neighbours-2

# Nobody else is on the network yet: a neighbour that has an address of its own is the host.
neighbours=untried
while read -r address type flags rest; do
    case $flags in
    Flags | type | "") ;;
    0x0) [ $neighbours = there ] || neighbours=none ;;
    *) neighbours=there ;;
    esac
done <<END
$($b grep -hv "^IP address" neighbours-1 neighbours-2)
END
echo "link neighbours $neighbours"
echo complete
