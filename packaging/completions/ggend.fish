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
complete -c ggend -n "__fish_ggend_needs_command" -f -a "config" -d 'Show the configuration and change its file'
complete -c ggend -n "__fish_ggend_needs_command" -f -a "auth" -d 'Make, list and revoke API keys; make and verify tokens; make certificates'
complete -c ggend -n "__fish_ggend_needs_command" -f -a "probe" -d 'Find what is wrong: with the daemon, its configuration, its connections, this host'
complete -c ggend -n "__fish_ggend_needs_command" -f -a "upgrade-check" -d 'Check that this binary can take over from the running one, which runs this'
complete -c ggend -n "__fish_ggend_needs_command" -f -a "stdio" -d 'Relay standard input and output to the running daemon, for MCP clients that know only stdio'
complete -c ggend -n "__fish_ggend_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ggend -n "__fish_ggend_using_subcommand check" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'One JSON object'"
complete -c ggend -n "__fish_ggend_using_subcommand check" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand check" -l service -d 'Judge as for the service: `./.mcp.json` is not read, unsafe file modes are errors'
complete -c ggend -n "__fish_ggend_using_subcommand check" -l verbose -d 'Also which files are read, where listeners and servers come from, and how servers are run'
complete -c ggend -n "__fish_ggend_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -f -a "init" -d 'Write a new configuration file'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -f -a "show" -d 'Show every value and its source; secrets are hidden'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -f -a "get" -d 'Print one value or section'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -f -a "set" -d 'Change values in the file, all of them or none'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -f -a "unset" -d 'Take values out of the file'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -f -a "import" -d 'Take over the servers of other MCP clients'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -f -a "install" -d 'Put ggend\'s entry into the file of an MCP client'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -f -a "path" -d 'Print where files are looked for, highest first, and which are there'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -f -a "schema" -d 'Print the JSON Schema of the file, for editors'
complete -c ggend -n "__fish_ggend_using_subcommand config; and not __fish_seen_subcommand_from init show get set unset import install path schema help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from init" -l file -d 'The file, instead of ./.mcp.json' -r -F
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from init" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from init" -l examples -d 'With entries of mcpServers to start from, switched off'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from init" -l force -d 'Replace a file that exists'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from init" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from init" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from show" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from show" -l effective -d 'Entries of mcpServers as they are run: defaults filled in, variables replaced'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from get" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from get" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from get" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from set" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from set" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from unset" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from unset" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from unset" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from unset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from import" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from import" -l yes -d 'Write it; without this, only show what would happen'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from import" -l dry-run -d 'Only show what would happen'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from import" -l replace -d 'Also replace servers of the same name'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from import" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from import" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from install" -l url -d 'Another address than that of the configuration' -r
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from install" -l file -d 'Another file than the client\'s usual one' -r -F
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from install" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from install" -l print -d 'Only print the entry'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from install" -l remove -d 'Take the entry out again'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from install" -l stdio -d 'By the command `ggen mcp server stdio`, not by address'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from install" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from install" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from path" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from path" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from path" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from path" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from schema" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from schema" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from schema" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "init" -d 'Write a new configuration file'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show every value and its source; secrets are hidden'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "get" -d 'Print one value or section'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "set" -d 'Change values in the file, all of them or none'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "unset" -d 'Take values out of the file'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "import" -d 'Take over the servers of other MCP clients'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "install" -d 'Put ggend\'s entry into the file of an MCP client'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "path" -d 'Print where files are looked for, highest first, and which are there'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "schema" -d 'Print the JSON Schema of the file, for editors'
complete -c ggend -n "__fish_ggend_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "generate-api-key" -d 'Make an API key; it is shown once'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "list-api-keys" -d 'List the API keys: what they are for, and how they stand'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "revoke-api-key" -d 'Revoke an API key, in force within a second'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "generate-jwt-secret" -d 'Make a secret for signed tokens (auth.jwt.secret)'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "generate-token" -d 'Make a token, signed with auth.jwt.secret'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "verify-token" -d 'Verify a token or an API key as the daemon does, and name the check that fails'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "decode-token" -d 'Show what a token says, without verifying it'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "revoke-token" -d 'Revoke a token by its jti, in force within a second'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "generate-ca" -d 'Make an authority of your own: ca.pem and ca.key'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "generate-cert" -d 'Make a certificate signed by it, for a server or a client'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and not __fish_seen_subcommand_from generate-api-key list-api-keys revoke-api-key generate-jwt-secret generate-token verify-token decode-token revoke-token generate-ca generate-cert help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-api-key" -l description -d 'What it is for' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-api-key" -l expires-in -d 'When it ends: 30m, 12h, 90d, …; otherwise never' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-api-key" -l client-id -d 'The client that it belongs to; rules may name it' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-api-key" -l permissions -d 'Roles that rules may name, separated by commas' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-api-key" -l tools -d 'Globs of tools, separated by commas: only these may be called' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-api-key" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-api-key" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-api-key" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-api-key" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from list-api-keys" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from list-api-keys" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from list-api-keys" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from list-api-keys" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from revoke-api-key" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from revoke-api-key" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from revoke-api-key" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from revoke-api-key" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-jwt-secret" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-jwt-secret" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-jwt-secret" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-jwt-secret" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-token" -l subject -d 'Whose it is (sub)' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-token" -l client-id -d 'The client that it is for (client_id)' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-token" -l scope -d 'Scopes, separated by spaces or commas' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-token" -l claim -d 'Another claim: a value that is JSON is taken as such, anything else as text' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-token" -l audience -d 'Instead of auth.jwt.audience (aud)' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-token" -l expires-in -d 'Instead of auth.jwt.expiration: 30m, 12h, 90d, …' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-token" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-token" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-token" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from verify-token" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from verify-token" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from verify-token" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from verify-token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from decode-token" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from decode-token" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from decode-token" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from decode-token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from revoke-token" -l jti -d 'The jti of a token of any issuer, as it is' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from revoke-token" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from revoke-token" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from revoke-token" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from revoke-token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-ca" -l name -d 'Its name' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-ca" -l out -d 'The folder for the files' -r -F
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-ca" -l days -d 'How long it is valid' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-ca" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-ca" -l force -d 'Replace files that exist'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-ca" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-ca" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-ca" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -l server -d 'A host name or address that it serves; may be repeated' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -l client -d 'Whom it is for, as a client: a name, a host name, an e-mail address or a URI' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -l ca -d 'The authority\'s certificate' -r -F
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -l ca-key -d 'The authority\'s key' -r -F
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -l out -d 'The folder for the files' -r -F
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -l days -d 'How long it is valid' -r
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'For programs'"
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -l force -d 'Replace files that exist'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -s q -l quiet -d 'Print values and errors only'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from generate-cert" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "generate-api-key" -d 'Make an API key; it is shown once'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "list-api-keys" -d 'List the API keys: what they are for, and how they stand'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "revoke-api-key" -d 'Revoke an API key, in force within a second'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "generate-jwt-secret" -d 'Make a secret for signed tokens (auth.jwt.secret)'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "generate-token" -d 'Make a token, signed with auth.jwt.secret'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "verify-token" -d 'Verify a token or an API key as the daemon does, and name the check that fails'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "decode-token" -d 'Show what a token says, without verifying it'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "revoke-token" -d 'Revoke a token by its jti, in force within a second'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "generate-ca" -d 'Make an authority of your own: ca.pem and ca.key'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "generate-cert" -d 'Make a certificate signed by it, for a server or a client'
complete -c ggend -n "__fish_ggend_using_subcommand auth; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and not __fish_seen_subcommand_from doctor connection help" -s h -l help -d 'Print help'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and not __fish_seen_subcommand_from doctor connection help" -f -a "doctor" -d 'Everything: the daemon, its configuration, its connections, its servers, this host'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and not __fish_seen_subcommand_from doctor connection help" -f -a "connection" -d 'One connection, layer by layer, as a client makes it'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and not __fish_seen_subcommand_from doctor connection help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from doctor" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'One JSON object'"
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from doctor" -l bundle -d 'Write what a report needs into this tar archive, secrets hidden' -r -F
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from doctor" -l client -d 'The version of the ggen that asks' -r
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from doctor" -l verbose -d 'Show healthy checks too, and how long each took'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from doctor" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from doctor" -l fix -d 'Run the fixes that are safe, each after a question'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from doctor" -l yes -d 'With --fix: do not ask'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from connection" -l transport -d 'Which way' -r -f -a "http\t'HTTP without TLS'
https\t'HTTP with TLS'
websocket\t'WebSocket'
quic\t'HTTP/3 over QUIC'
all\t'Every one that is served'"
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from connection" -l tool -d 'A tool that has to be there' -r
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from connection" -l api-key-file -d 'A file with the API key to send' -r -F
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from connection" -l client-cert -d 'The client certificate to show, PEM; it may hold the key, too' -r -F
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from connection" -l client-key -d 'The private key of the client certificate, PEM' -r -F
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from connection" -l timeout-ms -d 'How long each step may take, in milliseconds' -r
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from connection" -l format -d 'How to print' -r -f -a "human\t'For people'
json\t'One JSON object'"
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from connection" -l json -d 'The same as `--format json`'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from connection" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from help" -f -a "doctor" -d 'Everything: the daemon, its configuration, its connections, its servers, this host'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from help" -f -a "connection" -d 'One connection, layer by layer, as a client makes it'
complete -c ggend -n "__fish_ggend_using_subcommand probe; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ggend -n "__fish_ggend_using_subcommand upgrade-check" -s h -l help -d 'Print help'
complete -c ggend -n "__fish_ggend_using_subcommand stdio" -l server -d 'Only one upstream server, under its own names' -r
complete -c ggend -n "__fish_ggend_using_subcommand stdio" -l debug -d 'Say on standard error what passes: methods, statuses and times, never contents'
complete -c ggend -n "__fish_ggend_using_subcommand stdio" -s h -l help -d 'Print help'
complete -c ggend -n "__fish_ggend_using_subcommand help; and not __fish_seen_subcommand_from check config auth probe upgrade-check stdio help" -f -a "check" -d 'Check a configuration and say what is wrong with it'
complete -c ggend -n "__fish_ggend_using_subcommand help; and not __fish_seen_subcommand_from check config auth probe upgrade-check stdio help" -f -a "config" -d 'Show the configuration and change its file'
complete -c ggend -n "__fish_ggend_using_subcommand help; and not __fish_seen_subcommand_from check config auth probe upgrade-check stdio help" -f -a "auth" -d 'Make, list and revoke API keys; make and verify tokens; make certificates'
complete -c ggend -n "__fish_ggend_using_subcommand help; and not __fish_seen_subcommand_from check config auth probe upgrade-check stdio help" -f -a "probe" -d 'Find what is wrong: with the daemon, its configuration, its connections, this host'
complete -c ggend -n "__fish_ggend_using_subcommand help; and not __fish_seen_subcommand_from check config auth probe upgrade-check stdio help" -f -a "upgrade-check" -d 'Check that this binary can take over from the running one, which runs this'
complete -c ggend -n "__fish_ggend_using_subcommand help; and not __fish_seen_subcommand_from check config auth probe upgrade-check stdio help" -f -a "stdio" -d 'Relay standard input and output to the running daemon, for MCP clients that know only stdio'
complete -c ggend -n "__fish_ggend_using_subcommand help; and not __fish_seen_subcommand_from check config auth probe upgrade-check stdio help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "init" -d 'Write a new configuration file'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Show every value and its source; secrets are hidden'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "get" -d 'Print one value or section'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "set" -d 'Change values in the file, all of them or none'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "unset" -d 'Take values out of the file'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "import" -d 'Take over the servers of other MCP clients'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "install" -d 'Put ggend\'s entry into the file of an MCP client'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "path" -d 'Print where files are looked for, highest first, and which are there'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "schema" -d 'Print the JSON Schema of the file, for editors'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from auth" -f -a "generate-api-key" -d 'Make an API key; it is shown once'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from auth" -f -a "list-api-keys" -d 'List the API keys: what they are for, and how they stand'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from auth" -f -a "revoke-api-key" -d 'Revoke an API key, in force within a second'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from auth" -f -a "generate-jwt-secret" -d 'Make a secret for signed tokens (auth.jwt.secret)'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from auth" -f -a "generate-token" -d 'Make a token, signed with auth.jwt.secret'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from auth" -f -a "verify-token" -d 'Verify a token or an API key as the daemon does, and name the check that fails'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from auth" -f -a "decode-token" -d 'Show what a token says, without verifying it'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from auth" -f -a "revoke-token" -d 'Revoke a token by its jti, in force within a second'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from auth" -f -a "generate-ca" -d 'Make an authority of your own: ca.pem and ca.key'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from auth" -f -a "generate-cert" -d 'Make a certificate signed by it, for a server or a client'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from probe" -f -a "doctor" -d 'Everything: the daemon, its configuration, its connections, its servers, this host'
complete -c ggend -n "__fish_ggend_using_subcommand help; and __fish_seen_subcommand_from probe" -f -a "connection" -d 'One connection, layer by layer, as a client makes it'
