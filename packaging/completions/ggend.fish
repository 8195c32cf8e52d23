# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ggend_global_optspecs
    string join \n config= port= socket= verbose debug foreground h/help V/version
end

function __fish_ggend_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ggend_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ggend_using_subcommand
    set -l cmd (__fish_ggend_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ggend -n "__fish_ggend_needs_command" -l config -d 'The configuration file; otherwise GGEN_MCP_CONFIG, ./.mcp.json, ~/.ggen/mcp/config.json and /etc/ggen/mcp.json are looked for' -r -F
complete -c ggend -n "__fish_ggend_needs_command" -l port -d 'The port of the HTTP listener' -r
complete -c ggend -n "__fish_ggend_needs_command" -l socket -d 'The control socket' -r -F
complete -c ggend -n "__fish_ggend_needs_command" -l verbose -d 'Log at level debug'
complete -c ggend -n "__fish_ggend_needs_command" -l debug -d 'Log at level trace'
complete -c ggend -n "__fish_ggend_needs_command" -l foreground -d 'Stay in the foreground, which is what it does anyway'
complete -c ggend -n "__fish_ggend_needs_command" -s h -l help -d 'Print help'
complete -c ggend -n "__fish_ggend_needs_command" -s V -l version -d 'Print version'
complete -c ggend -n "__fish_ggend_needs_command" -f -a "check" -d 'Check a configuration and say what is wrong with it'
complete -c ggend -n "__fish_ggend_needs_command" -f -a "stdio" -d 'Relay standard input and output to the running daemon, for MCP clients that know only stdio'
complete -c ggend -n "__fish_ggend_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ggend -n "__fish_ggend_using_subcommand check" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'One JSON object'"
complete -c ggend -n "__fish_ggend_using_subcommand check" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand check" -l service -d 'Judge as for the service: `./.mcp.json` is not read, unsafe file modes are errors'
complete -c ggend -n "__fish_ggend_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand stdio" -l server -d 'Only one upstream server, under its own names' -r
complete -c ggend -n "__fish_ggend_using_subcommand stdio" -l debug -d 'Say on standard error what passes: methods, statuses and times, never contents'
complete -c ggend -n "__fish_ggend_using_subcommand stdio" -s h -l help -d 'Print help'
complete -c ggend -n "__fish_ggend_using_subcommand help; and not __fish_seen_subcommand_from check stdio help" -f -a "check" -d 'Check a configuration and say what is wrong with it'
complete -c ggend -n "__fish_ggend_using_subcommand help; and not __fish_seen_subcommand_from check stdio help" -f -a "stdio" -d 'Relay standard input and output to the running daemon, for MCP clients that know only stdio'
complete -c ggend -n "__fish_ggend_using_subcommand help; and not __fish_seen_subcommand_from check stdio help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
