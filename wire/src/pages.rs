//! The page of each error code: what it means, where it comes from, what mends it. `ggen mcp explain CODE` prints it.
//! Every command exists, in `ggen`, in `ggend` or on an ordinary system (a test in `ctl` parses ours). Words in angle brackets stand for values.

use crate::Code;

/// What a person reads about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// One or two sentences.
    pub meaning: &'static str,
    /// Where it comes from, likeliest first.
    pub causes: &'static [&'static str],
    /// What mends it, likeliest first.
    pub mends: &'static [Mend],
}

/// One way to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mend {
    /// What to do.
    pub what: &'static str,
    /// The command; empty where none exists.
    pub command: &'static str,
}

macro_rules! pages {
    ($($code:ident: $meaning:literal;
        because [$($cause:literal),* $(,)?];
        mend [$($what:literal => $command:literal),* $(,)?];)*) => {
        impl Code {
            /// The code's page.
            #[must_use]
            pub const fn page(self) -> Page {
                match self {
                    $(Self::$code => Page { meaning: $meaning, causes: &[$($cause),*], mends: &[$(Mend { what: $what, command: $command }),*] },)*
                }
            }
        }
    };
}

pages! {
    ConfigSyntax: "The configuration file is not valid JSON, so that nothing of it was taken. A running daemon keeps the configuration it has.";
        because [
            "A comma too many or too few, a missing quote or bracket",
            "A comment: JSON has none",
            "The file was cut while it was written",
        ];
        mend ["See the line and column" => "ggen mcp config validate", "After the repair, take it over" => "ggen mcp server reload"];
    ConfigUnknownKey: "A key is not one that ggend knows. It is refused, because a misspelt key would otherwise be without effect and nobody would notice.";
        because ["A misspelt key", "A key at the wrong level", "A key of a newer version"];
        mend [
            "See the key and the one that is closest" => "ggen mcp config validate",
            "See which version reads the file" => "ggend --version",
        ];
    ConfigType: "A value has the wrong type, such as a text where a number is expected.";
        because ["A number or true/false in quotes", "A single value where a list is expected"];
        mend ["See the key, its place and what is expected" => "ggen mcp config validate"];
    ConfigValue: "A value has the right type, but lies outside what is allowed.";
        because ["A number below the minimum or above the maximum", "An address or a size that cannot be read"];
        mend ["See the key and its range" => "ggen mcp config validate"];
    ConfigUnreadable: "The configuration file was named, but cannot be read.";
        because ["It does not exist", "The daemon's user may not read it, or may not enter its directory", "It is a directory"];
        mend ["See which file is meant" => "ggen mcp config path", "Look at its owner and mode" => "ls -l <FILE>"];
    ConfigVariable: "The configuration uses ${NAME}, and the daemon's environment has no such variable.";
        because [
            "The variable is set in your shell, but not where the daemon was started",
            "A misspelt name",
            "A secret that is missing in the service's environment file",
        ];
        mend [
            "See which entry uses it" => "ggen mcp config validate",
            "Set it where the daemon starts, and start it anew" => "ggen mcp server stop && ggen mcp server start",
        ];
    ConfigSelfReference: "An entry of mcpServers would start or call this gateway itself. It is skipped, because calls would go round for ever.";
        because [
            "A client's file that lists the gateway as one of its servers is used as the gateway's own",
            "A url that points at the gateway's own address",
        ];
        mend ["See which entry it is" => "ggen mcp config validate", "Remove it, then take the file over" => "ggen mcp server reload"];
    ConfigUnserved: "The configuration asks for something that this version does not do. Where people would rely on it (authentication, policy, limits, TLS), that is an error: ggend never pretends to enforce what it does not.";
        because ["A configuration written for a newer version", "A section copied from the documentation of another gateway"];
        mend ["See which setting, and where" => "ggen mcp config validate", "See which version runs" => "ggend --version"];
    ConfigMode: "The configuration file can be read or written by more people than is safe: whoever writes it decides which commands run.";
        because ["The file was made with a loose umask", "It lies in a shared folder"];
        mend ["Let only its owner write and read it" => "chmod 600 .mcp.json"];
    ConfigDrift: "The configuration file was changed after the daemon read it, so that what runs is not what the file says.";
        because ["The file was edited and not taken over", "A reload was refused, and the daemon kept what it had"];
        mend ["See whether the file is valid" => "ggen mcp config validate", "Take it over" => "ggen mcp server reload"];
    ConfigOverridden: "An environment variable (GGEN_MCP_…) gives a key another value than the configuration file. The variable wins, so that editing the file has no effect.";
        because ["A variable of the shell profile or of the service's environment file that was forgotten", "A variable meant for another daemon"];
        mend [
            "Take the variable out of the environment" => "unset <VARIABLE>",
            "Start the daemon without it" => "ggen mcp server stop && ggen mcp server start",
        ];
    PortTaken: "Another process listens on the port already. The message names it where the system tells.";
        because ["Another ggend, of another user or of an earlier start", "Another program with the same default port"];
        mend ["See who has it" => "ss -ltnp", "Start on another port" => "ggen mcp server start --port 3001"];
    BindFailed: "The system does not let the daemon listen on this address.";
        because ["The address belongs to no interface of this host", "A port below 1024 without the privilege", "IPv6 is switched off"];
        mend [
            "See the host's addresses" => "ip addr",
            "Look at transports.http.host and transports.http.port" => "ggen mcp config validate",
        ];
    OpenWithoutAuth: "The daemon would listen on an address that others can reach, without asking who they are. It refuses that.";
        because [
            "transports.http.host is no loopback address, and there is no key, token or certificate that anybody could be known by",
            "auth.required is false",
        ];
        mend [
            "Make a key; from then on every request needs one" => "ggen mcp auth generate-api-key",
            "Or listen on loopback only" => "ggen mcp config set transports.http.host=127.0.0.1",
        ];
    WorkerDied: "A worker process ended unexpectedly. The supervisor starts its successor; listeners and upstream servers stay as they were.";
        because ["A fault in ggend", "The system was out of memory and killed it", "Somebody killed it"];
        mend [
            "See why it ended" => "ggen mcp server status",
            "See the errors before it" => "ggen mcp server logs --level error --tail 20",
            "See whether the system killed it" => "dmesg",
        ];
    WorkerHung: "A worker gave no sign of life for three seconds and was replaced.";
        because ["The host is overloaded or was suspended", "The process was stopped (SIGSTOP) or is being debugged", "A fault in ggend"];
        mend ["See beats and restarts" => "ggen mcp server status --verbose", "See the host's load" => "uptime"];
    TransportDegraded: "Workers of a transport died several times within a minute. They are still restarted, with growing pauses; the other transports are untouched.";
        because ["A fault that strikes at every start", "Too little memory or too few file descriptors"];
        mend [
            "See the last exit reasons" => "ggen mcp server status",
            "See the errors" => "ggen mcp server logs --level error --tail 20",
            "Replace the workers" => "ggen mcp server restart --server http",
        ];
    GatewayLost: "The gateway worker was replaced while this call was on its way. Whether the upstream server carried it out is unknown.";
        because ["The gateway worker died or hung", "The workers were restarted"];
        mend ["See why" => "ggen mcp server logs --level error --tail 20", "Repeat the call, if it may be carried out twice" => ""];
    UpstreamStarting: "The upstream server has not finished its handshake yet.";
        because ["It was started just now", "It downloads or compiles something first, as npx and uvx do"];
        mend [
            "Wait until every upstream has settled" => "ggen mcp server wait",
            "See what it says meanwhile" => "ggen mcp server logs --upstream NAME --tail 20",
        ];
    UpstreamExited: "The upstream server's process ended. It is started again, with growing pauses if it keeps ending.";
        because ["A missing argument, file or secret: its last words say which", "It crashed", "It was killed for want of memory"];
        mend [
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
        mend [
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
        mend [
            "See what it says" => "ggen mcp server logs --upstream NAME --tail 20",
            "Start it anew" => "ggen mcp server restart --server NAME",
        ];
    UpstreamGarbage: "The upstream server printed something on its standard output that is not an MCP message.";
        because [
            "The server, or a tool that it uses, writes its log to standard output instead of standard error",
            "A banner of npx, uvx or a shell profile",
        ];
        mend [
            "See the lines" => "ggen mcp server logs --upstream NAME --tail 20",
            "Give it its own option for quiet or for logging to standard error, then" => "ggen mcp server reload",
        ];
    UpstreamCrashLoop: "The upstream server died five times within a minute. It is still tried, with growing pauses.";
        because ["It cannot start at all: a missing secret, file or program", "It dies at its first request"];
        mend [
            "See its last words" => "ggen mcp server logs --upstream NAME --tail 20",
            "See its entry checked" => "ggen mcp config validate",
            "After the repair, start it now" => "ggen mcp server restart --server NAME",
        ];
    UpstreamTimeout: "The upstream server did not answer the call within the time of its entry (timeout, in milliseconds).";
        because ["The tool needs longer than the entry allows", "The server waits for something or is stuck"];
        mend [
            "See the slow calls" => "ggen mcp server status --verbose",
            "Raise timeout in its entry, then" => "ggen mcp server reload",
            "Start it anew" => "ggen mcp server restart --server NAME",
        ];
    UpstreamDisabled: "The upstream server is switched off in the configuration.";
        because ["Its entry has \"enabled\": false", "It was skipped, because it would call the gateway itself"];
        mend ["Find the file, and set enabled to true" => "ggen mcp config path", "Then take it over" => "ggen mcp server reload"];
    UpstreamUnreachable: "The upstream server's URL cannot be reached.";
        because [
            "The server is down",
            "The name does not resolve, or a firewall or proxy is in between",
            "This host does not trust its certificate",
        ];
        mend ["Try it from this host" => "curl -v <URL>", "See the reason" => "ggen mcp server logs --upstream NAME --tail 20"];
    UpstreamTooLarge: "The upstream server sent a message over the limit. It was dropped, and the call got an error.";
        because ["A tool returned a whole file or table", "The server is faulty"];
        mend ["Ask the tool for less" => "", "See which call it was" => "ggen mcp server logs --upstream NAME --tail 20"];
    UpstreamRefused: "The upstream server answered the handshake with an error.";
        because ["It asks for credentials that its entry does not give", "It speaks no protocol version that ggend speaks"];
        mend [
            "See its answer" => "ggen mcp server logs --upstream NAME --tail 20",
            "Look at headers, env and era of its entry" => "ggen mcp config validate",
        ];
    UpstreamBusy: "The upstream server has as many calls in flight as are allowed at once.";
        because ["Many clients call it at the same time", "It has become slow or is stuck"];
        mend ["See its calls in flight" => "ggen mcp server status --verbose", "Try again a little later" => ""];
    ToolNameTooLong: "The tool's name, with its server's in front, would be longer than 64 characters, which clients refuse. It was shortened; calls go to the right tool.";
        because ["A long server name or a long tool name"];
        mend ["See the names in use" => "ggen mcp list", "Give the server a shorter name in mcpServers, then" => "ggen mcp server reload"];
    NameCollision: "Two upstream servers give something of the same exposed name.";
        because ["Two entries whose names differ only in characters that names may not have", "The same resource URI from two servers"];
        mend ["See what is served" => "ggen mcp list", "Rename one of the entries, then" => "ggen mcp server reload"];
    InvalidJson: "The request's body is not JSON.";
        because ["The body was cut or is empty", "Quotes that a shell has taken away", "The body is in another encoding than UTF-8"];
        mend ["Check the body" => "python3 -m json.tool <FILE>"];
    InvalidRequest: "The body is JSON, but not a request that the protocol allows. The message says what is wrong.";
        because ["A member is missing: jsonrpc, method or id", "params that do not fit the method", "A request before initialize"];
        mend ["See what the gateway says about it" => "ggen mcp server logs --category protocol --tail 20"];
    BodyTooLarge: "The request's body is larger than transports.http.max_body.";
        because ["A file was sent as an argument"];
        mend ["Send less, or raise transports.http.max_body, then" => "ggen mcp server reload"];
    WrongContentType: "The request is not marked as JSON.";
        because ["curl -d without a header sends a form", "The client is no MCP client"];
        mend ["Send the header" => "curl -H 'Content-Type: application/json' -d @<FILE> <URL>"];
    TooDeep: "The request's JSON is nested more deeply than is allowed.";
        because ["A fault in the client", "An attempt to exhaust the server"];
        mend ["See where it came from" => "ggen mcp server logs --category transport --tail 20"];
    DuplicateKey: "The request names a member twice, so that two readers could understand two different requests. It is refused.";
        because ["A fault in the client", "An attempt to get around a filter"];
        mend ["See where it came from" => "ggen mcp server logs --category protocol --tail 20"];
    HeaderMismatch: "A header (Mcp-Method, Mcp-Name, MCP-Protocol-Version) does not say what the body says.";
        because ["A proxy or the client sets headers by itself", "A client that mixes two protocol versions"];
        mend ["See both values" => "ggen mcp server logs --category protocol --tail 20"];
    OriginRefused: "A web page from an origin that is not allowed made the request. Browsers are let in from the listed origins only.";
        because ["The page's origin is missing in transports.http.allowed_origins", "A foreign page tries to reach your local gateway"];
        mend ["If the page is yours, add its origin to transports.http.allowed_origins, then" => "ggen mcp server reload"];
    HostRefused: "The request's Host is no name that the gateway answers to. This is what stops DNS rebinding.";
        because ["The gateway is reached by a name that is missing in transports.http.allowed_hosts", "A proxy that changes Host"];
        mend ["Add the name to transports.http.allowed_hosts, then" => "ggen mcp server reload"];
    MethodUnknown: "The request's method is not one of the protocol version in use.";
        because ["A misspelt method", "A method of another protocol version", "No upstream server offers it"];
        mend ["See what is offered" => "ggen mcp list"];
    ToolNotFound: "No tool of this name is served.";
        because [
            "A misspelt name, or one without its server in front (server__tool)",
            "Its upstream server has not been ready once",
            "The server does not give the tool any more",
        ];
        mend ["See the names" => "ggen mcp list", "See the upstream servers" => "ggen mcp server status"];
    SessionUnknown: "The request names a session that does not exist. Most clients then begin a new one by themselves.";
        because ["The session was ended, or lay idle too long", "The gateway worker was replaced", "The request went to another gateway"];
        mend ["See sessions and restarts" => "ggen mcp server status --verbose"];
    VersionUnsupported: "The client asks for a protocol version that ggend does not speak.";
        because ["A very old or very new client", "A misspelt MCP-Protocol-Version header"];
        mend ["See the version of ggend" => "ggend --version"];
    BatchRefused: "The request is a list of requests, which this protocol version does not have.";
        because ["A client that agreed on a version without batches; only 2025-03-26 has them"];
        mend ["Send each request by itself" => ""];
    MethodNotAllowed: "The path exists, but not with this HTTP method. The Allow header lists those that it has.";
        because ["A browser opened the MCP endpoint", "A GET where the protocol version knows POST only"];
        mend ["Look at the gateway with a path made for GET" => "curl http://127.0.0.1:3000/health"];
    Overloaded: "As many requests are in flight as the gateway takes at once. New ones are refused until some are done.";
        because ["A client in a loop", "An upstream server has become slow, and calls pile up"];
        mend ["See what is slow" => "ggen mcp server status --verbose", "Try again a little later" => ""];
    PromptNotFound: "No prompt of this name is served.";
        because ["A misspelt name, or one without its server in front (server__prompt)", "Its upstream server has not been ready once"];
        mend ["See the upstream servers and how many prompts they give" => "ggen mcp server status --verbose"];
    ResourceNotFound: "No upstream server gives this resource.";
        because ["A misspelt URI", "The resource is gone", "Its upstream server has not been ready once"];
        mend ["See the upstream servers and how many resources they give" => "ggen mcp server status --verbose"];
    NotAcceptable: "The client's Accept header allows none of the forms in which an answer can come.";
        because ["A client with a fixed Accept header, such as text/html"];
        mend ["Send the header" => "curl -H 'Accept: application/json, text/event-stream' <URL>"];
    InputUnsupported: "The upstream server needs something from the client during the call (an answer of the user, a model's text, its roots), and this client cannot give it.";
        because ["The client did not declare the capability", "The client has no way to be asked"];
        mend ["Use a client that has the capability, or a tool that does not ask" => ""];
    StateInvalid: "A call was repeated with a requestState that was not given for it, was used already, or is too old.";
        because ["The answers came after five minutes", "The gateway worker was replaced meanwhile", "Another user's state, or one that was changed", "Other arguments than in the first call"];
        mend ["Call the tool again without requestState" => ""];
    TooManyParked: "As many calls wait for answers of their clients as the gateway keeps: 16 of one user, 64 at one server, 1024 in all.";
        because ["A client begins calls that ask for something, and does not come back with the answers"];
        mend ["Answer or wait: a call without an answer is given up after five minutes" => "ggen mcp server status --verbose"];
    AnswerLate: "The server asked the client for something during the call, and no answer came within ten minutes.";
        because ["Nobody was there to answer", "The client does not answer what it cannot do"];
        mend ["Call the tool again, and answer" => ""];
    TooManyRounds: "The server answered the call with questions again and again, more often than the gateway asks the client.";
        because ["A server that does not accept the answers", "A server that waits by asking to be called again"];
        mend ["See what the server says" => "ggen mcp server logs --upstream NAME --tail 20"];
    TooManySessions: "As many sessions are open as the gateway keeps.";
        because ["A client opens sessions and does not end them", "More users than expected"];
        mend [
            "See the sessions" => "ggen mcp server status --verbose",
            "See who opens them" => "ggen mcp server logs --category protocol --tail 50",
        ];
    SessionMissing: "The request needs the header Mcp-Session-Id, which the answer to initialize gave.";
        because ["The client does not keep the header", "A proxy removes it", "A request before initialize"];
        mend ["See what the gateway says about it" => "ggen mcp server logs --category protocol --tail 20"];
    ServerUnknown: "The path /mcp/NAME names no upstream server.";
        because ["A misspelt name", "The entry is missing or switched off"];
        mend ["See the names" => "ggen mcp server status"];
    PathUnknown: "The gateway serves nothing at this path. It serves /mcp, /mcp/NAME, /tools and /health.";
        because ["A misspelt path", "A client set up for another server"];
        mend ["Try the gateway" => "curl http://127.0.0.1:3000/health"];
    CursorInvalid: "The cursor is none that this gateway gave, or what it pointed at has changed.";
        because ["The list changed between two pages", "The client changed the cursor"];
        mend ["Ask for the list again from its beginning" => ""];
    RequestTimeout: "The answer did not begin within transports.http.request_timeout_ms.";
        because ["A slow tool", "An upstream server that is stuck"];
        mend [
            "See the slow calls" => "ggen mcp server status --verbose",
            "Raise transports.http.request_timeout_ms, then" => "ggen mcp server reload",
        ];
    InvalidApiKey: "The request carries an API key that opens nothing here. Wrong keys are refused even where none is needed.";
        because [
            "The key was revoked, or has expired; the daemon's log says which",
            "A key of another gateway, or one that was cut when it was copied",
            "The key was made in another state directory: as another user than the daemon's",
        ];
        mend [
            "See the keys and how they stand" => "ggen mcp auth list-api-keys",
            "Make a new one" => "ggen mcp auth generate-api-key",
            "See why it was refused" => "ggen mcp server logs --category auth",
        ];
    TokenExpired: "The token's time (exp) is over.";
        because ["The client did not refresh its token in time", "The clock of this host or of the issuer is wrong"];
        mend [
            "See since when" => "ggen mcp auth verify-token <TOKEN>",
            "Make a new one, if this gateway's secret signs them" => "ggen mcp auth generate-token",
            "See whether the clock is right" => "timedatectl",
        ];
    InvalidSignature: "The token was not signed by a key that this gateway trusts.";
        because [
            "auth.jwt.secret is not the secret that the token was signed with",
            "The issuer has new keys, and its key set could not be fetched",
            "The token names an algorithm that the key is not for, or none",
        ];
        mend [
            "See which check fails" => "ggen mcp auth verify-token <TOKEN>",
            "See what the token says of itself" => "ggen mcp auth decode-token <TOKEN>",
            "See whether keys could be fetched" => "ggen mcp server logs --category auth",
        ];
    AuthenticationFailed: "The request needs a credential and has none, or its token is not one for this gateway.";
        because [
            "No Authorization header where auth.required is on (always so on an address that others can reach)",
            "A token with another issuer or audience, not valid yet, or revoked",
            "A header that cannot be read, or two credentials at once",
        ];
        mend [
            "Make a key, and send it as Authorization: Bearer <KEY>" => "ggen mcp auth generate-api-key",
            "See which check of a token fails" => "ggen mcp auth verify-token <TOKEN>",
            "See why it was refused" => "ggen mcp server logs --category auth",
        ];
    InsufficientScope: "The token is good, but its scopes do not allow this. The answer's WWW-Authenticate names the scopes that are needed.";
        because ["The client asked the authorization server for fewer scopes", "auth.oauth2.scopes was extended"];
        mend ["See the token's scopes" => "ggen mcp auth decode-token <TOKEN>", "See which are needed" => "ggen mcp config get auth.oauth2.scopes"];
    KeyStoreUnusable: "The file with the API keys (auth.sqlite in the state directory) cannot be opened, read or written. The daemon goes on with the keys that it knew.";
        because ["It belongs to another user", "The disk is full, or the directory cannot be written", "It was written by a newer version"];
        mend ["Look at its owner and mode" => "ls -la <STATE DIRECTORY>", "See free space" => "df -h", "See which version runs" => "ggend --version"];
    IssuerUnreachable: "The keys of a token issuer (auth.jwt.jwks_url, auth.oauth2.issuer) cannot be fetched. Keys that were fetched before go on being used.";
        because [
            "The address is wrong, or is not reachable from this host",
            "Its certificate is not trusted by this host",
            "It answers with a redirect, which is not followed, or with something that is no key set",
        ];
        mend [
            "See what was tried" => "ggen mcp server logs --category auth",
            "See which address is meant" => "ggen mcp config get auth",
            "Try it" => "curl -v <URL>",
        ];
    RateLimited: "The client sent more requests than it may, has too many in flight, or a tool is at its own limit. Nothing was done; Retry-After says when there is room again.";
        because ["A client in a loop", "A limit in rate_limit or tools that is lower than what clients need", "Several clients that share one principal, such as anonymous"];
        mend ["See which limit it was" => "curl -s http://127.0.0.1:9464/metrics | grep ggend_rate_limited_total", "Raise it" => "ggen mcp config set rate_limit.requests_per_second=100"];
    CertificateVerifyFailed: "A certificate was shown that is not accepted: signed by an authority that is not known, expired, revoked, or not made for that name. Of clients: none was shown where one is required.";
        because [
            "The client shows no certificate, or one of another authority than auth.mtls.ca_cert",
            "The certificate has expired, or is in the revocation list auth.mtls.crl",
            "Its name is not in auth.mtls.allowed_names",
            "Of a server: the client does not know its authority, as with a self-signed certificate",
        ];
        mend [
            "See which certificate was refused, and why" => "ggen mcp server logs --level warn",
            "Look at the certificate's names and dates" => "openssl x509 -in <FILE> -noout -subject -ext subjectAltName -dates",
            "Make another one" => "ggen mcp auth generate-cert --ca ca.pem --ca-key ca.key --client <NAME>",
        ];
    CertificateUnusable: "A file of transports.http.ssl or auth.mtls cannot be used. At the start that is an error; while the daemon runs, it goes on with the certificates that it has.";
        because [
            "The file does not exist, or the daemon's user may not read it",
            "The key is not that of the certificate",
            "The file is not PEM, or the key is encrypted",
        ];
        mend [
            "See which file, and what is wrong" => "ggen mcp server logs --level error",
            "Compare the public keys of both" => "openssl x509 -in <CERT> -noout -pubkey && openssl pkey -in <KEY> -pubout",
            "Take the files over once they are right" => "ggen mcp server reload",
        ];
    CertificateExpiring: "A certificate of the daemon has expired, or does within 30 days. Clients refuse one that has.";
        because ["It was not renewed", "It was renewed, but not in the file that the daemon reads", "The clock is wrong"];
        mend [
            "See its dates" => "openssl x509 -in <FILE> -noout -dates",
            "Put the new one into the file; it is taken over within seconds, or at once" => "ggen mcp server reload",
        ];
    CertificateSelfSigned: "The daemon serves HTTPS with a certificate that it made itself, because none is configured. Clients do not trust it unless they are told to.";
        because ["transports.http.ssl.cert and .key are not set"];
        mend [
            "Tell a client to trust it" => "curl --cacert ~/.ggen/state/tls/self-signed.pem https://localhost:3443/health",
            "Make an authority of your own, and a certificate signed by it" => "ggen mcp auth generate-ca && ggen mcp auth generate-cert --server localhost",
        ];
    Internal: "Something went wrong inside ggend that should not have. The log has the details.";
        because ["A fault in ggend"];
        mend ["See what it says" => "ggen mcp server logs --level error --tail 20", "Replace the workers" => "ggen mcp server restart"];
    GatewayUnavailable: "The gateway worker is being replaced, and its successor was not ready in time for this request.";
        because ["It died, and its successor takes long to start", "The host is overloaded"];
        mend ["Wait until it is back" => "ggen mcp server wait", "See why" => "ggen mcp server logs --level error --tail 20"];
    NotRunning: "Nothing answers at the daemon's control socket.";
        because [
            "The daemon was not started, or has stopped",
            "It runs as another user or with another socket",
            "It was killed and left its socket behind",
        ];
        mend [
            "Start it" => "ggen mcp server start",
            "See what it wrote last" => "ggen mcp server logs --tail 20",
            "Name the socket of another one" => "ggen mcp server status --socket <PATH>",
        ];
    PermissionDenied: "Your user may not do this to the daemon. Its own user and root may change things; the socket's group may look.";
        because ["The daemon runs as a service, and you are not in its group", "The socket or its directory belongs to somebody else"];
        mend ["Do it as root" => "sudo ggen mcp server status", "See the service's socket" => "ls -l /run/ggen"];
    VersionSkew: "ggen and the running daemon are of different versions, so that some answers may not be understood.";
        because ["The package was updated and the daemon not restarted", "Two installations"];
        mend [
            "Restart the daemon" => "ggen mcp server stop && ggen mcp server start",
            "See the version that is installed" => "ggend --version",
        ];
    AlreadyRunning: "A daemon answers at the control socket already, so that a second one does not start.";
        because ["It was started before, by the system or in another terminal"];
        mend [
            "Look at it" => "ggen mcp server status",
            "Start it anew" => "ggen mcp server stop && ggen mcp server start",
            "Run a second one beside it" => "ggen mcp server start --socket <PATH> --port 3001",
        ];
    ControlProtocol: "Something accepted the connection at the control socket, but gave no answer that can be used.";
        because ["The daemon hangs or is overloaded", "It ended in the middle of its answer", "Something else listens at that path"];
        mend [
            "Give it more time" => "ggen mcp server status --timeout 60",
            "See who listens there" => "ss -xlp",
            "Stop it by force" => "ggen mcp server stop --force",
        ];
    ConnectionRefused: "The host was reached, and nothing listens at the port.";
        because ["The daemon is not running", "It listens on another port or another address", "A firewall rejects the connection"];
        mend [
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
        mend [
            "See which layer it is" => "ggen mcp test-connection",
            "Look at the workers" => "ggen mcp doctor --verbose",
            "See firewall rules" => "sudo iptables -L -n",
        ];
    NameUnresolved: "The host's name has no address.";
        because ["A misspelt name", "No name server is reachable", "A line is missing in /etc/hosts"];
        mend ["Ask the system for the name" => "getent hosts <NAME>", "See which name servers are asked" => "cat /etc/resolv.conf"];
    AnswerUnusable: "Something answered, but not as an MCP server does.";
        because ["Another program listens at this port", "The URL's path is wrong: ggend serves /mcp", "A proxy answers in its place"];
        mend ["See the answer" => "curl -v <URL>", "See where the gateway is" => "ggen mcp server status"];
    RuntimeLeftover: "The control socket or its lock is there, and no daemon answers at it.";
        because ["The daemon was killed and could not clean up", "A daemon that is starting or ending, or that hangs, holds the lock"];
        mend ["Start the daemon, which removes what is left over" => "ggen mcp server start", "See who holds files there" => "ss -xlp"];
    SocketMode: "More users than the daemon's own and its group can reach the control socket, or put another one in its place.";
        because ["The mode was changed by hand", "The runtime directory lies in a shared folder"];
        mend ["Let only owner and group use the socket" => "chmod 660 <SOCKET>", "Let only the owner write its directory" => "chmod 700 <DIRECTORY>"];
    CheckUnfinished: "A check of doctor was not done when its time was over, so that it is not known what it would have found.";
        because ["The host is overloaded", "A file system or name server that does not answer"];
        mend ["Try again, and see how long each check takes" => "ggen mcp doctor --verbose", "See the host's load" => "uptime"];
    FilesLimit: "A process of the daemon has nearly as many files and sockets open as it may. Further connections would be refused.";
        because ["Many clients or upstream servers, and a low limit (RLIMIT_NOFILE)", "A client that opens connections and never closes them"];
        mend [
            "Raise the limit of the shell that starts the daemon" => "ulimit -n 65536",
            "For the service: set LimitNOFILE" => "sudo systemctl edit ggend.service",
        ];
    DiskUnusable: "The daemon keeps its socket, lock and log in a directory that is full or that it may not write.";
        because ["The file system is full, or out of inodes", "The directory belongs to somebody else", "The file system is mounted read-only"];
        mend ["See what is free" => "df -h <DIRECTORY>", "See who may write" => "ls -ld <DIRECTORY>"];
    ClockWrong: "The host's clock is far from the real time: certificates and tokens are judged wrongly, and logs mislead.";
        because ["No time synchronisation", "A board without a battery-backed clock", "A virtual machine that was suspended"];
        mend ["See the clock and its synchronisation" => "timedatectl", "Switch synchronisation on" => "sudo timedatectl set-ntp true"];
    ServiceFailed: "systemd has given the daemon's unit up and does not start it any more.";
        because ["It failed at every start: configuration, port or permission", "It was started too often in a short time (start limit)"];
        mend [
            "See why" => "journalctl -u ggend.service -n 50",
            "After the repair, start it" => "sudo systemctl reset-failed ggend.service && sudo systemctl start ggend.service",
        ];
}

#[cfg(test)]
mod tests {
    use crate::Code;

    #[test]
    fn every_page_says_something_and_offers_a_way_out() {
        for code in Code::ALL {
            let page = code.page();
            assert!(page.meaning.ends_with('.') && !page.causes.is_empty() && !page.mends.is_empty(), "{code}");
            assert!(page.causes.iter().chain(page.mends.iter().map(|mend| &mend.what)).all(|text| !text.is_empty()), "{code}");
        }
    }
}
