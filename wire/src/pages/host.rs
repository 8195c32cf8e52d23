//! Pages of codes: ourselves, the control socket and the host. Text only.

use super::{Help, Page};
use crate::Code;

pages! {
    Internal: "Something went wrong inside ggend that should not have. The log has the details.";
        because ["A fault in ggend"];
        help ["See what it says" => "ggen mcp server logs --level error --tail 20", "Replace the workers" => "ggen mcp server restart"];
    GatewayUnavailable: "The gateway worker is being replaced, and its successor was not ready in time for this request.";
        because ["It died, and its successor takes long to start", "The host is overloaded"];
        help ["Wait until it is back" => "ggen mcp server wait", "See why" => "ggen mcp server logs --level error --tail 20"];
    StateUnusable: "Sessions, and what the servers gave, are kept in memory only, because the file state.db of the state directory cannot be used. Everything \
        is served; a restart of the whole daemon loses them. A damaged file is set aside as state.db.damaged, and a new one is begun.";
        because [
            "The state directory is full, read-only, or belongs to somebody else",
            "The file was damaged",
            "A newer ggend wrote the file",
            "Another daemon uses the same state directory",
        ];
        help [
            "See why" => "ggen mcp server logs --level warn --tail 20",
            "Look at the state directory of a service" => "ls -la /var/lib/ggen",
            "Give a second daemon a state directory of its own" => "GGEN_STATE_DIR=<DIRECTORY> ggen mcp server start",
        ];
    NotRunning: "Nothing answers at the daemon's control socket.";
        because [
            "The daemon was not started, or has stopped",
            "It runs as another user or with another socket",
            "It was killed and left its socket behind",
        ];
        help [
            "Start it" => "ggen mcp server start",
            "See what it wrote last" => "ggen mcp server logs --tail 20",
            "Name the socket of another one" => "ggen mcp server status --socket <PATH>",
        ];
    PermissionDenied: "Your user may not do this to the daemon. Its own user and root may change things; the socket's group may look.";
        because ["The daemon runs as a service, and you are not in its group", "The socket or its directory belongs to somebody else"];
        help ["Do it as root" => "sudo ggen mcp server status", "See the service's socket" => "ls -l /run/ggen"];
    VersionSkew: "ggen and the running daemon are of different versions, so that some answers may not be understood.";
        because ["The package was updated and the daemon was not", "Two installations"];
        help [
            "Have the daemon become the version that is installed" => "ggen mcp server upgrade",
            "Restart the daemon" => "ggen mcp server stop && ggen mcp server start",
            "See the version that is installed" => "ggend --version",
        ];
    AlreadyRunning: "A daemon answers at the control socket already, so that a second one does not start.";
        because ["It was started before, by the system or in another terminal"];
        help [
            "Look at it" => "ggen mcp server status",
            "Start it anew" => "ggen mcp server stop && ggen mcp server start",
            "Run a second one beside it" => "ggen mcp server start --socket <PATH> --port 3001",
        ];
    ControlProtocol: "Something accepted the connection at the control socket, but gave no answer that can be used.";
        because ["The daemon hangs or is overloaded", "It ended in the middle of its answer", "Something else listens at that path"];
        help [
            "Give it more time" => "ggen mcp server status --timeout 60",
            "See who listens there" => "ss -xlp",
            "Stop it by force" => "ggen mcp server stop --force",
        ];
    ConnectionRefused: "The host was reached, and nothing listens at the port.";
        because ["The daemon is not running", "It listens on another port or another address", "A firewall rejects the connection"];
        help [
            "See whether it runs, and where" => "ggen mcp server status",
            "Start it" => "ggen mcp server start",
            "See who listens" => "ss -ltnp",
        ];
    ConnectionTimeout: "The connection was not made, or the answer did not come, within the time.";
        because [
            "A firewall drops the packets",
            "The process that listens hangs, is stopped (SIGSTOP) or overloaded",
            "The address belongs to a host that is down",
        ];
        help [
            "See which layer it is" => "ggen mcp test-connection",
            "Look at the workers" => "ggen mcp doctor --verbose",
            "Replace workers that hang" => "ggen mcp server restart --server http",
            "See firewall rules" => "sudo iptables -L -n",
        ];
    NameUnresolved: "The host's name has no address.";
        because ["A misspelt name", "No name server is reachable", "A line is missing in /etc/hosts"];
        help ["Ask the system for the name" => "getent hosts <NAME>", "See which name servers are asked" => "cat /etc/resolv.conf"];
    AnswerUnusable: "Something answered, but not as an MCP server does.";
        because ["Another program listens at this port", "The URL's path is wrong: ggend serves /mcp", "A proxy answers in its place"];
        help ["See the answer" => "curl -v <URL>", "See where the gateway is" => "ggen mcp server status"];
    RuntimeLeftover: "The control socket or its lock is there, and no daemon answers at it.";
        because ["The daemon was killed and could not clean up", "A daemon that is starting or ending, or that hangs, holds the lock"];
        help ["Start the daemon, which removes what is left over" => "ggen mcp server start", "See who holds files there" => "ss -xlp"];
    SocketMode: "More users than the daemon's own and its group can reach the control socket, or put another one in its place.";
        because ["The mode was changed by hand", "The runtime directory lies in a shared folder"];
        help ["Let only owner and group use the socket" => "chmod 660 <SOCKET>", "Let only the owner write its directory" => "chmod 700 <DIRECTORY>"];
    CheckUnfinished: "A check of doctor was not done when its time was over, so that it is not known what it would have found.";
        because ["The host is overloaded", "A file system or name server that does not answer"];
        help ["Try again, and see how long each check takes" => "ggen mcp doctor --verbose", "See the host's load" => "uptime"];
    UpgradeRefused: "Another binary was to take over in place of the running one, and did not: it could not be executed, could not read the configuration or \
        the state, or may not be trusted. Nothing has changed; the running binary goes on serving.";
        because [
            "The new binary is damaged, or for another system",
            "The new version refuses the configuration, or takes over only by a restart",
            "The configuration files have changed since they were read",
            "The file belongs to another user, or others may write it",
            "A reload, a restart of workers, or another upgrade is under way",
        ];
        help [
            "See what the new version says to the configuration" => "ggend check",
            "Put changed files in force first" => "ggen mcp server reload",
            "See the details" => "ggen mcp server logs --level error --tail 20",
            "Go over by a restart: no connection is refused, sessions stay, the servers are started anew" => "sudo systemctl restart ggend",
        ];
    UpgradeUnderWay: "The daemon is just handing over to another binary, which takes a moment. What serves clients goes on meanwhile.";
        because ["An upgrade was asked for at the same time"];
        help ["Wait until it is over" => "ggen mcp server wait", "See the version that runs" => "ggen mcp server status"];
    FilesLimit: "A process of the daemon has nearly as many files and sockets open as it may. Further connections would be refused.";
        because ["Many clients or upstream servers, and a low limit (RLIMIT_NOFILE)", "A client that opens connections and never closes them"];
        help [
            "Raise the limit of the shell that starts the daemon" => "ulimit -n 65536",
            "For the service: set LimitNOFILE" => "sudo systemctl edit ggend.service",
        ];
    DiskUnusable: "The daemon keeps its socket, lock and log in a directory that is full or that it may not write.";
        because ["The file system is full, or out of inodes", "The directory belongs to somebody else", "The file system is mounted read-only"];
        help ["See what is free" => "df -h <DIRECTORY>", "See who may write" => "ls -ld <DIRECTORY>"];
    ClockWrong: "The host's clock is far from the real time: certificates and tokens are judged wrongly, and logs mislead.";
        because ["No time synchronisation", "A board without a battery-backed clock", "A virtual machine that was suspended"];
        help ["See the clock and its synchronisation" => "timedatectl", "Switch synchronisation on" => "sudo timedatectl set-ntp true"];
    SandboxUnavailable: "This kernel, or what surrounds the daemon, does not give all that the sandbox of workers or of a server needs. With server.sandbox auto, workers serve with what there is; with required, they do not serve. A server whose own sandbox cannot be had is not started.";
        because [
            "A kernel without Landlock (Linux 5.13) or seccomp, or one that was started without it",
            "A container runtime that refuses the system calls of sandboxes",
            "A user or a path of a server's sandbox that is not there",
            "A setting that needs root, such as user, in a daemon that is not root",
        ];
        help [
            "See how much of it each worker has" => "ggen mcp server status --verbose",
            "See what the kernel knows and has switched on" => "uname -r; cat /sys/kernel/security/lsm",
            "Serve with what there is" => "ggen mcp config set server.sandbox=auto",
            "Take a server's own sandbox away" => "ggen mcp config unset mcpServers.<NAME>.sandbox",
        ];
    CollectorUnusable: "Spans could not be handed to the collector that tracing.otlp names. Nothing else is touched: calls go on, and spans are kept up to a bound, then dropped and counted (ggend_otlp_spans_total).";
        because [
            "The collector is down, or listens elsewhere: OTLP over HTTP has port 4318, over gRPC 4317",
            "It refuses the headers that it is sent (401, 403), or knows no /v1/traces at this address (404)",
            "It is overloaded (429, 503), or slower than tracing.otlp.timeout_ms",
        ];
        help [
            "Try it, with the daemon's own configuration" => "ggen mcp doctor --verbose",
            "See what it says" => "ggen mcp server logs --grep GGEN-E7006",
            "Name another address" => "ggen mcp config set tracing.otlp.endpoint=<URL>",
            "Send no spans" => "ggen mcp config set tracing.otlp.enabled=false",
        ];
    ServiceFailed: "systemd has given the daemon's unit up and does not start it any more.";
        because ["It failed at every start: configuration, port or permission", "It was started too often in a short time (start limit)"];
        help [
            "See why" => "journalctl -u ggend.service -n 50",
            "After the repair, start it" => "sudo systemctl reset-failed ggend.service && sudo systemctl start ggend.service",
        ];
}
