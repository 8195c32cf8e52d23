//! Pages of codes: configuration, listeners, workers and upstream servers. Text only.

use super::{Help, Page};
use crate::Code;

pages! {
    ConfigSyntax: "The configuration file is not valid JSON, so that nothing of it was taken. A running daemon keeps the configuration it has.";
        because [
            "A comma too many or too few, a missing quote or bracket",
            "A comment: JSON has none",
            "The file was cut while it was written",
        ];
        help ["See the line and column" => "ggen mcp config validate", "After the repair, take it over" => "ggen mcp server reload"];
    ConfigUnknownKey: "A key is not one that ggend knows. It is refused, because a misspelt key would otherwise be without effect and nobody would notice.";
        because ["A misspelt key", "A key at the wrong level", "A key of a newer version"];
        help [
            "See the key and the one that is closest" => "ggen mcp config validate",
            "See which version reads the file" => "ggend --version",
        ];
    ConfigType: "A value has the wrong type, such as a text where a number is expected.";
        because ["A number or true/false in quotes", "A single value where a list is expected"];
        help ["See the key, its place and what is expected" => "ggen mcp config validate"];
    ConfigValue: "A value has the right type, but lies outside what is allowed.";
        because ["A number below the minimum or above the maximum", "An address or a size that cannot be read"];
        help ["See the key and its range" => "ggen mcp config validate"];
    ConfigUnreadable: "The configuration file was named, but cannot be read.";
        because ["It does not exist", "The daemon's user may not read it, or may not enter its directory", "It is a directory"];
        help ["See which file is meant" => "ggen mcp config path", "Look at its owner and mode" => "ls -l <FILE>"];
    ConfigVariable: "The configuration uses ${NAME}, and the daemon's environment has no such variable.";
        because [
            "The variable is set in your shell, but not where the daemon was started",
            "A misspelt name",
            "A secret that is missing in the service's environment file",
        ];
        help [
            "See which entry uses it" => "ggen mcp config validate",
            "Set it where the daemon starts, and start it anew" => "ggen mcp server stop && ggen mcp server start",
        ];
    ConfigSelfReference: "An entry of mcpServers would start or call this gateway itself. It is skipped, because calls would go round for ever.";
        because [
            "A client's file that lists the gateway as one of its servers is used as the gateway's own",
            "A url that points at the gateway's own address",
        ];
        help ["See which entry it is" => "ggen mcp config validate", "Remove it, then take the file over" => "ggen mcp server reload"];
    ConfigUnserved: "The configuration asks for something that this version does not do. Where people would rely on it (such as a sandbox), that is an error: ggend never pretends to enforce what it does not.";
        because ["A configuration written for a newer version", "A section copied from the documentation of another gateway", "A key of another MCP client that restricts a server or logs in to it: without it, the server would do more than it is meant to"];
        help ["See which setting, and where" => "ggen mcp config validate", "See which version runs" => "ggend --version"];
    ConfigMode: "The configuration file can be read or written by more people than is safe: whoever writes it decides which commands run.";
        because ["The file was made with a loose umask", "It lies in a shared folder"];
        help ["Let only its owner write and read it" => "chmod 600 .mcp.json"];
    ConfigDrift: "The configuration file was changed after the daemon read it, so that what runs is not what the file says.";
        because ["The file was edited and not taken over", "A reload was refused, and the daemon kept what it had"];
        help ["See whether the file is valid" => "ggen mcp config validate", "Take it over" => "ggen mcp server reload"];
    ConfigOverridden: "An environment variable (GGEN_MCP_…) gives a key another value than the configuration file. The variable wins, so that editing the file has no effect.";
        because ["A variable of the shell profile or of the service's environment file that was forgotten", "A variable meant for another daemon"];
        help [
            "Take the variable out of the environment" => "unset <VARIABLE>",
            "Start the daemon without it" => "ggen mcp server stop && ggen mcp server start",
        ];
    ConfigForeign: "A configuration that was found and not named (.mcp.json in the working directory, or the one in the home directory) belongs to another user, or another user may change it. The programs in it would run with your rights, so it is not used. For root, the folders above count, too.";
        because [
            "The working directory belongs to somebody else, or is shared, such as /tmp",
            "A command was run with sudo in a user's directory",
        ];
        help [
            "See whose it is" => "ls -ld . .mcp.json",
            "If it is meant, name it" => "ggend --config ./.mcp.json",
        ];
    PortTaken: "Another process listens on the port already. The message names it where the system tells.";
        because ["Another ggend, of another user or of an earlier start", "Another program with the same default port"];
        help ["See who has it" => "ss -ltnp", "Start on another port" => "ggen mcp server start --port 3001"];
    BindFailed: "The system does not let the daemon listen on this address.";
        because ["The address belongs to no interface of this host", "A port below 1024 without the privilege", "IPv6 is switched off"];
        help [
            "See the host's addresses" => "ip addr",
            "Look at transports.http.host and transports.http.port" => "ggen mcp config validate",
        ];
    OpenWithoutAuth: "The daemon would listen on an address that others can reach, without asking who they are. It refuses that.";
        because [
            "transports.http.host is no loopback address, and there is no key, token or certificate that anybody could be known by",
            "auth.required is false",
        ];
        help [
            "Make a key; from then on every request needs one" => "ggen mcp auth generate-api-key",
            "Or listen on loopback only" => "ggen mcp config set transports.http.host=127.0.0.1",
        ];
    WorkerDied: "A worker process ended unexpectedly. The supervisor starts its successor; listeners and upstream servers stay as they were.";
        because ["A fault in ggend", "The system was out of memory and killed it", "Somebody killed it"];
        help [
            "See why it ended" => "ggen mcp server status",
            "See the errors before it" => "ggen mcp server logs --level error --tail 20",
            "See whether the system killed it" => "dmesg",
        ];
    WorkerHung: "A worker gave no sign of life for three seconds and was replaced.";
        because ["The host is overloaded or was suspended", "The process was stopped (SIGSTOP) or is being debugged", "A fault in ggend"];
        help ["See beats and restarts" => "ggen mcp server status --verbose", "See the host's load" => "uptime"];
    TransportDegraded: "Workers of a transport died several times within a minute. They are still restarted, with growing pauses; the other transports are untouched.";
        because ["A fault that strikes at every start", "Too little memory or too few file descriptors"];
        help [
            "See the last exit reasons" => "ggen mcp server status",
            "See the errors" => "ggen mcp server logs --level error --tail 20",
            "Replace the workers" => "ggen mcp server restart --server http",
        ];
    GatewayLost: "The gateway worker was replaced while this call was on its way. Whether the upstream server carried it out is unknown.";
        because ["The gateway worker died or hung", "The workers were restarted"];
        help ["See why" => "ggen mcp server logs --level error --tail 20", "Repeat the call, if it may be carried out twice" => ""];
    UpstreamStarting: "The upstream server has not finished its handshake yet.";
        because ["It was started just now", "It downloads or compiles something first, as npx and uvx do"];
        help [
            "Wait until every upstream has settled" => "ggen mcp server wait",
            "See what it says meanwhile" => "ggen mcp server logs --upstream NAME --tail 20",
        ];
    UpstreamExited: "The upstream server's process ended. It is started again, with growing pauses if it keeps ending.";
        because ["A missing argument, file or secret: its last words say which", "It crashed", "It was killed for want of memory"];
        help [
            "See its exit reason" => "ggen mcp server status",
            "See its last words" => "ggen mcp server logs --upstream NAME --tail 20",
            "Start it again now" => "ggen mcp server restart --server NAME",
        ];
    CommandNotFound: "The command of an upstream server is not found in the daemon's PATH, which need not be your shell's.";
        because [
            "The program is not installed",
            "It is installed where only your shell looks (nvm, pyenv, ~/.local/bin)",
            "A misspelt command",
        ];
        help [
            "See which entry it is" => "ggen mcp config validate",
            "Find the program, and write its full path as the entry's command" => "command -v <COMMAND>",
            "Then take it over" => "ggen mcp server reload",
        ];
    UpstreamSilent: "The upstream server's process runs, but does not answer.";
        because [
            "It waits for something: a network, a lock, a question on its terminal",
            "It is no MCP server, or one that speaks HTTP only",
            "It is stuck",
        ];
        help [
            "See what it says" => "ggen mcp server logs --upstream NAME --tail 20",
            "Start it anew" => "ggen mcp server restart --server NAME",
        ];
    UpstreamGarbage: "The upstream server printed something on its standard output that is not an MCP message.";
        because [
            "The server, or a tool that it uses, writes its log to standard output instead of standard error",
            "A banner of npx, uvx or a shell profile",
        ];
        help [
            "See the lines" => "ggen mcp server logs --upstream NAME --tail 20",
            "Give it its own option for quiet or for logging to standard error, then" => "ggen mcp server reload",
        ];
    UpstreamCrashLoop: "The upstream server died five times within a minute. It is still tried, with growing pauses.";
        because ["It cannot start at all: a missing secret, file or program", "It dies at its first request"];
        help [
            "See its last words" => "ggen mcp server logs --upstream NAME --tail 20",
            "See its entry checked" => "ggen mcp config validate",
            "After the repair, start it now" => "ggen mcp server restart --server NAME",
        ];
    UpstreamTimeout: "The upstream server did not answer the call within the time of its entry (timeout, in milliseconds).";
        because ["The tool needs longer than the entry allows", "The server waits for something or is stuck"];
        help [
            "See the slow calls" => "ggen mcp server status --verbose",
            "Raise timeout in its entry, then" => "ggen mcp server reload",
            "Start it anew" => "ggen mcp server restart --server NAME",
        ];
    UpstreamDisabled: "The upstream server is switched off in the configuration.";
        because ["Its entry has \"enabled\": false", "It was skipped, because it would call the gateway itself"];
        help ["Find the file, and set enabled to true" => "ggen mcp config path", "Then take it over" => "ggen mcp server reload"];
    UpstreamUnreachable: "The upstream server's URL cannot be reached.";
        because [
            "The server is down",
            "The name does not resolve, or a firewall or proxy is in between",
            "This host does not trust its certificate",
        ];
        help ["Try it from this host" => "curl -v <URL>", "See the reason" => "ggen mcp server logs --upstream NAME --tail 20"];
    UpstreamTooLarge: "The upstream server sent a message over the limit. It was dropped, and the call got an error.";
        because ["A tool returned a whole file or table", "The server is faulty"];
        help ["Ask the tool for less" => "", "See which call it was" => "ggen mcp server logs --upstream NAME --tail 20"];
    UpstreamRefused: "The upstream server answered the handshake with an error.";
        because ["It asks for credentials that its entry does not give", "It speaks no protocol version that ggend speaks"];
        help [
            "See its answer" => "ggen mcp server logs --upstream NAME --tail 20",
            "Look at headers, env and era of its entry" => "ggen mcp config validate",
        ];
    UpstreamBusy: "The upstream server has as many calls in flight as are allowed at once.";
        because ["Many clients call it at the same time", "It has become slow or is stuck"];
        help ["See its calls in flight" => "ggen mcp server status --verbose", "Try again a little later" => ""];
    ToolNameTooLong: "The tool's name, with its server's in front, would be longer than 64 characters, which clients refuse. It was shortened; calls go to the right tool.";
        because ["A long server name or a long tool name"];
        help ["See the names in use" => "ggen mcp list", "Give the server a shorter name in mcpServers, then" => "ggen mcp server reload"];
    NameCollision: "Two upstream servers give something of the same exposed name.";
        because ["Two entries whose names differ only in characters that names may not have", "The same resource URI from two servers"];
        help ["See what is served" => "ggen mcp list", "Rename one of the entries, then" => "ggen mcp server reload"];
    UpstreamOutOfMemory: "The kernel killed the upstream server, or a process of it, because memory ran out: that of the host, or what sandbox.limits.family.memory gives it. With that limit all of it ends together. It is started again.";
        because ["The server needs more than its entry gives it", "It has a leak, or was asked for something very large", "The host has too little memory for all that runs"];
        help [
            "See what it uses" => "ggen mcp server status --verbose",
            "See which limit it was" => "ggen mcp server logs --upstream NAME --tail 20",
            "Give it more" => "ggen mcp config get mcpServers.<NAME>.sandbox.limits",
        ];
    UpstreamListFailed: "The upstream server declares tools, prompts or resources, and answers the request for the list with an error, with something that is no list, or not at all. It takes calls; the last good list is served, and the list is asked for again after 2 s, 4 s, … 64 s.";
        because ["What the server needs for the list (a database, an account, another service) is not there", "The server is faulty or stuck"];
        help [
            "See what it answers" => "ggen mcp server logs --upstream NAME --tail 20",
            "Start it anew" => "ggen mcp server restart --server NAME",
        ];
}
