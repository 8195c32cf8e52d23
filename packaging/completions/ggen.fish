# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ggen_global_optspecs
    string join \n format= json q/quiet v/verbose debug config= socket= timeout= h/help V/version
end

function __fish_ggen_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ggen_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ggen_using_subcommand
    set -l cmd (__fish_ggen_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ggen -n "__fish_ggen_needs_command" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_needs_command" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_needs_command" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_needs_command" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_needs_command" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_needs_command" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_needs_command" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_needs_command" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_needs_command" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_needs_command" -f -a "mcp" -d 'The gateway, its tools and its upstream servers'
complete -c ggen -n "__fish_ggen_needs_command" -f -a "completion" -d 'Print the completion script of a shell'
complete -c ggen -n "__fish_ggen_needs_command" -f -a "__detach" -d 'Takes a session of its own and becomes the given program'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "server" -d 'Start, stop and inspect the daemon'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "list" -d 'List the tools that clients see'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "status" -d 'Show one tool'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "test" -d 'Call one tool for real'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "schemas" -d 'Print the definitions of all tools'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "explain" -d 'Explain an error code: meaning, causes, fixes'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "doctor" -d 'Find what is wrong: the daemon, its configuration, its connections, its servers, this host'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "test-connection" -d 'Connect as a client does, and name the layer that fails'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "auth" -d 'API keys and tokens: who may ask'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "config" -d 'Show and change the configuration'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "import" -d 'Take over the servers of other MCP clients; without --yes, show what would happen'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "install" -d 'Put ggend\'s entry into the file of an MCP client'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "start" -d 'The same as `mcp server start`'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and not __fish_seen_subcommand_from server list status test schemas explain doctor test-connection auth config import install start start-server" -f -a "start-server" -d 'As other tools of this family have it: `mcp server start`, or `mcp server stdio`'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "start" -d 'Start the daemon and wait until it serves'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "stop" -d 'Finish what is in flight and stop'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "restart" -d 'Replace the workers one after another, or one upstream'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "reload" -d 'Put the changed configuration in force, without dropping a connection'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "upgrade" -d 'Become the binary that is installed now, in place: no connection, session or server is lost'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "status" -d 'Show whether it runs, where, and the state of its parts'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "wait" -d 'Wait until the daemon runs and every upstream has settled'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "logs" -d 'Show the logs of the daemon, its workers and the upstream servers'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "log-level" -d 'Change what is logged while the daemon runs'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "monitor" -d 'Watch the daemon: a full screen on a terminal, a line a second elsewhere'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from server" -f -a "stdio" -d 'Relay standard input and output to the daemon, for clients that know only stdio'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l server -d 'Only tools of one server (`core` is the gateway\'s own)' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l type -d 'Only the gateway\'s own tools, or only those of upstream servers' -r -f -a "core\t'The gateway\'s own'
upstream\t'Of upstream servers'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l status -d 'Show the status of every tool; with a value, only tools with that status' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l search -d 'Only tools whose name or description contains TEXT, whatever the case' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l all -d 'All tools, however many there are; without it, more than 100 are shown as a number for each server'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l refresh -d 'Let the gateway ask every server for its tools again first'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -l schema -d 'Print its definition too'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -l args -d 'Its arguments, a JSON object' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -l server -d 'Only tools of one server (`core` is the gateway\'s own)' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from schemas" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from explain" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from explain" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from explain" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from explain" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from explain" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from explain" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from explain" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from explain" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from explain" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -l bundle -d 'Write what a report needs into a tar archive, secrets hidden: findings, status, configuration, last log lines, metrics, versions' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -l fix -d 'Apply the fixes that are safe: start what is down, put a changed configuration in force, close files to others. Asks before each'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -l yes -d 'With --fix: do not ask'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from doctor" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l transport -d 'Which way' -r -f -a "http\t'HTTP without TLS'
https\t'HTTP with TLS'
websocket\t'WebSocket'
quic\t'HTTP/3 over QUIC'
all\t'Every one that is served'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l tool -d 'A tool that has to be there' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l api-key-file -d 'A file with the API key to send; otherwise GGEN_MCP_API_KEY, to this host only' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l client-cert -d 'The client certificate to show, PEM; it may hold the key, too' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l client-key -d 'The private key of the client certificate, PEM' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from test-connection" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -f -a "generate-api-key" -d 'Make an API key; it is shown once'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -f -a "list-api-keys" -d 'List the API keys: what they are for, and how they stand'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -f -a "revoke-api-key" -d 'Revoke an API key, in force within a second'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -f -a "generate-jwt-secret" -d 'Make a secret for signed tokens (auth.jwt.secret)'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -f -a "generate-token" -d 'Make a token, signed with auth.jwt.secret'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -f -a "verify-token" -d 'Verify a token or an API key as the daemon does, and name the check that fails'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -f -a "decode-token" -d 'Show what a token says, without verifying it'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -f -a "revoke-token" -d 'Revoke a token by its jti, in force within a second'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -f -a "generate-ca" -d 'Make an authority of your own: ca.pem and ca.key'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from auth" -f -a "generate-cert" -d 'Make a certificate signed by it, for a server or a client'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -f -a "init" -d 'Write a new configuration file'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -f -a "show" -d 'Show every value and where it comes from; secrets are hidden, and a pipe or file gets JSON'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -f -a "get" -d 'Print one value or section'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -f -a "set" -d 'Change values in the file: all of them, or none if the result would not be valid'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -f -a "unset" -d 'Take values out of the file'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -f -a "validate" -d 'Check the configuration; commands, folders and ports are tried'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -f -a "path" -d 'Print where configuration files are looked for, and which are there'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from config" -f -a "schema" -d 'Print the JSON Schema of the file, for editors'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -l yes -d 'Write it'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -l dry-run -d 'Only show what would happen'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -l replace -d 'Also replace servers of the same name'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from import" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l url -d 'Another address than that of the configuration' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l file -d 'Another file than the client\'s usual one' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l print -d 'Only print the entry'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l remove -d 'Take the entry out again'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l stdio -d 'By the command `ggen mcp server stdio`, not by address'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from install" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -l port -d 'The HTTP port, instead of the configured one' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -l server -d 'One transport (http, https, websocket, quic, admin) or upstream of a running daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -l foreground -d 'Stay in the foreground: ggen becomes ggend'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -l transport -d 'http, websocket, quic or stdio' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -l port -d 'The HTTP port, instead of the configured one' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand mcp; and __fish_seen_subcommand_from start-server" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand completion" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand completion" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand completion" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand completion" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand completion" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand completion" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand completion" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand completion" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand completion" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggen -n "__fish_ggen_using_subcommand completion" -s V -l version -d 'Print version'
complete -c ggen -n "__fish_ggen_using_subcommand __detach" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs; the schema is that of the control interface'
csv\t'For spreadsheets (RFC 4180); `list` only'
markdown\t'A table for documents; `list` only'"
complete -c ggen -n "__fish_ggen_using_subcommand __detach" -l config -d 'The configuration file, for commands that hand one to ggend' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand __detach" -l socket -d 'The daemon\'s control socket' -r -F
complete -c ggen -n "__fish_ggen_using_subcommand __detach" -l timeout -d 'How long to wait for the daemon' -r
complete -c ggen -n "__fish_ggen_using_subcommand __detach" -l json -d 'The same as --format json'
complete -c ggen -n "__fish_ggen_using_subcommand __detach" -s q -l quiet -d 'Print results and errors only'
complete -c ggen -n "__fish_ggen_using_subcommand __detach" -s v -l verbose -d 'Print more'
complete -c ggen -n "__fish_ggen_using_subcommand __detach" -l debug -d 'Print what passes between ggen and the daemon; with `server start`, let the daemon log everything'
complete -c ggen -n "__fish_ggen_using_subcommand __detach" -s V -l version -d 'Print version'
