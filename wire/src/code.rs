//! The one table of stable error codes: what logs, the command line, JSON-RPC `error.data.code`,
//! `/health` and `ggen mcp explain` show. A code is never renumbered and never reused.

use std::fmt;

macro_rules! codes {
    ($($variant:ident = $code:literal, $title:literal;)*) => {
        /// A stable error code. `Display` gives the code (`GGEN-E1101`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each variant's title stands beside it in the table")]
        pub enum Code { $($variant,)* }

        impl Code {
            /// Every code, in numerical order.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The stable code, `GGEN-E####`.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Code::$variant => $code,)* } }

            /// The short message; where the user's guide fixes a message, it is that one.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Code::$variant => $title,)* } }
        }
    };
}

codes! {
    // 10xx: configuration
    ConfigSyntax = "GGEN-E1001", "Configuration is not valid JSON";
    ConfigUnknownKey = "GGEN-E1002", "Unknown configuration key";
    ConfigType = "GGEN-E1003", "Configuration value has the wrong type";
    ConfigValue = "GGEN-E1004", "Configuration value is out of range";
    ConfigUnreadable = "GGEN-E1005", "Configuration file cannot be read";
    ConfigVariable = "GGEN-E1006", "Environment variable is not set";
    ConfigSelfReference = "GGEN-E1007", "Entry would call the gateway itself";
    ConfigUnserved = "GGEN-E1008", "Setting is not served by this version";
    ConfigMode = "GGEN-E1009", "Configuration file's mode is unsafe";
    ConfigDrift = "GGEN-E1010", "Configuration in force is not what the file says";
    ConfigOverridden = "GGEN-E1011", "A variable overrides the configuration file";
    ConfigForeign = "GGEN-E1012", "Configuration may be somebody else's";
    // 11xx: listeners
    PortTaken = "GGEN-E1101", "Port is taken";
    BindFailed = "GGEN-E1102", "Address cannot be bound";
    OpenWithoutAuth = "GGEN-E1103", "Public address without authentication";
    // 12xx: workers
    WorkerDied = "GGEN-E1201", "Worker died";
    WorkerHung = "GGEN-E1202", "Worker stopped answering";
    TransportDegraded = "GGEN-E1203", "Transport is degraded";
    GatewayLost = "GGEN-E1204", "Gateway worker was restarted while the call was in flight";
    // 20xx, 21xx: upstream servers
    UpstreamStarting = "GGEN-E2101", "Upstream is starting";
    UpstreamExited = "GGEN-E2102", "Upstream exited";
    CommandNotFound = "GGEN-E2103", "Command not found";
    UpstreamSilent = "GGEN-E2104", "Upstream does not answer";
    UpstreamGarbage = "GGEN-E2105", "Upstream printed something that is not MCP";
    UpstreamCrashLoop = "GGEN-E2106", "Upstream is in a crash loop";
    UpstreamTimeout = "GGEN-E2107", "Upstream did not answer in time";
    UpstreamDisabled = "GGEN-E2108", "Upstream is disabled";
    UpstreamUnreachable = "GGEN-E2109", "Upstream cannot be reached";
    UpstreamTooLarge = "GGEN-E2110", "Upstream sent a message over the limit";
    UpstreamRefused = "GGEN-E2111", "Upstream refused the handshake";
    UpstreamBusy = "GGEN-E2112", "Upstream has too many calls in flight";
    ToolNameTooLong = "GGEN-E2113", "Tool name was shortened";
    NameCollision = "GGEN-E2114", "Two upstreams give the same name";
    UpstreamOutOfMemory = "GGEN-E2115", "Upstream ran out of memory";
    UpstreamListFailed = "GGEN-E2116", "Upstream does not give one of its lists";
    // 30xx: requests
    InvalidJson = "GGEN-E3001", "Invalid request: not JSON";
    InvalidRequest = "GGEN-E3002", "Invalid request";
    BodyTooLarge = "GGEN-E3003", "Invalid request: body over the limit";
    WrongContentType = "GGEN-E3004", "Invalid request: Content-Type must be application/json";
    TooDeep = "GGEN-E3005", "Invalid request: nested too deeply";
    DuplicateKey = "GGEN-E3006", "Invalid request: duplicate key";
    HeaderMismatch = "GGEN-E3007", "Invalid request: header does not match the body";
    OriginRefused = "GGEN-E3008", "Origin is not allowed";
    HostRefused = "GGEN-E3009", "Host is not allowed";
    MethodUnknown = "GGEN-E3011", "Invalid request: method not found";
    ToolNotFound = "GGEN-E3012", "Tool not found";
    SessionUnknown = "GGEN-E3013", "Session not found";
    VersionUnsupported = "GGEN-E3014", "Unsupported protocol version";
    BatchRefused = "GGEN-E3015", "Invalid request: batches are not part of this protocol version";
    MethodNotAllowed = "GGEN-E3016", "HTTP method is not allowed here";
    Overloaded = "GGEN-E3017", "Too many requests in flight";
    PromptNotFound = "GGEN-E3018", "Prompt not found";
    ResourceNotFound = "GGEN-E3019", "Resource not found";
    NotAcceptable = "GGEN-E3020", "Accept allows neither application/json nor text/event-stream";
    InputUnsupported = "GGEN-E3021", "The call needs something from the client that it cannot give";
    TooManySessions = "GGEN-E3022", "Too many sessions";
    SessionMissing = "GGEN-E3023", "Missing session";
    ServerUnknown = "GGEN-E3024", "No such server";
    PathUnknown = "GGEN-E3025", "No such path";
    CursorInvalid = "GGEN-E3026", "Invalid cursor";
    RequestTimeout = "GGEN-E3027", "Request took too long";
    StateInvalid = "GGEN-E3040", "Invalid or expired requestState";
    TooManyParked = "GGEN-E3041", "Too many calls wait for their clients' answers";
    AnswerLate = "GGEN-E3042", "The client did not answer the server's question in time";
    TooManyRounds = "GGEN-E3043", "The server asks again and again";
    TaskNotFound = "GGEN-E3044", "Task not found";
    TaskEnded = "GGEN-E3045", "The task ended without a result";
    // 306x: WebSocket
    UpgradeNeeded = "GGEN-E3060", "WebSocket upgrade needed";
    SubprotocolUnknown = "GGEN-E3061", "WebSocket subprotocol is not mcp";
    QueryTokenRefused = "GGEN-E3062", "Token in the address is not taken here";
    WebsocketAway = "GGEN-E3063", "Server error: no websocket worker serves";
    BinaryMessage = "GGEN-E3064", "WebSocket message is binary";
    SocketSilent = "GGEN-E3065", "WebSocket client gives no sign of life";
    SocketSlow = "GGEN-E3066", "WebSocket client takes nothing";
    // 40xx: who is asking
    InvalidApiKey = "GGEN-E4001", "Invalid API key";
    TokenExpired = "GGEN-E4002", "Token expired";
    InvalidSignature = "GGEN-E4003", "Invalid signature";
    AuthenticationFailed = "GGEN-E4004", "Authentication failed";
    InsufficientScope = "GGEN-E4005", "Insufficient scope";
    KeyStoreUnusable = "GGEN-E4006", "Key store cannot be used";
    IssuerUnreachable = "GGEN-E4007", "Keys of the token issuer cannot be fetched";
    // 403x: certificates
    CertificateVerifyFailed = "GGEN-E4030", "Certificate verify failed";
    CertificateUnusable = "GGEN-E4031", "Certificate or key cannot be used";
    CertificateExpiring = "GGEN-E4032", "Certificate has expired or soon will";
    CertificateSelfSigned = "GGEN-E4033", "Certificate is self-signed";
    // 406x: who may do what
    RateLimited = "GGEN-E4060", "Rate limit exceeded";
    // 50xx: ourselves
    Internal = "GGEN-E5001", "Server error";
    GatewayUnavailable = "GGEN-E5002", "Server error: the gateway worker is being replaced";
    StateUnusable = "GGEN-E5003", "Sessions cannot be stored";
    // 60xx: control
    NotRunning = "GGEN-E6001", "Connection refused: the daemon is not running";
    PermissionDenied = "GGEN-E6002", "Permission denied";
    VersionSkew = "GGEN-E6003", "Versions differ";
    AlreadyRunning = "GGEN-E6004", "Already running";
    ControlProtocol = "GGEN-E6005", "The control socket gave no valid answer";
    ConnectionRefused = "GGEN-E6006", "Connection refused";
    ConnectionTimeout = "GGEN-E6007", "Connection timeout";
    NameUnresolved = "GGEN-E6008", "Name does not resolve";
    AnswerUnusable = "GGEN-E6009", "The answer is not that of an MCP server";
    RuntimeLeftover = "GGEN-E6010", "Socket or lock of a daemon that is gone";
    SocketMode = "GGEN-E6011", "Control socket's owner or mode is unsafe";
    CheckUnfinished = "GGEN-E6012", "A check did not finish in time";
    UpgradeRefused = "GGEN-E6013", "The new binary does not take over";
    UpgradeUnderWay = "GGEN-E6014", "The daemon is handing over to another binary";
    // 70xx: the host
    FilesLimit = "GGEN-E7001", "Limit of open files is nearly reached";
    DiskUnusable = "GGEN-E7002", "Directory is full or cannot be written";
    ClockWrong = "GGEN-E7003", "The clock is wrong";
    ServiceFailed = "GGEN-E7004", "The service manager gave the service up";
    SandboxUnavailable = "GGEN-E7005", "Sandbox cannot be had";
    CollectorUnusable = "GGEN-E7006", "Trace collector takes no spans";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    /// Accepts `GGEN-E1101`, `ggen-e1101` and `E1101`.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let wanted = text.trim().to_ascii_uppercase();
        Self::ALL
            .iter()
            .copied()
            .find(|code| {
                code.as_str() == wanted || code.as_str().trim_start_matches("GGEN-") == wanted
            })
            .ok_or(UnknownCode)
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text names no code of the table.
#[derive(Debug, thiserror::Error)]
#[error("no such error code")]
pub struct UnknownCode;

#[cfg(test)]
mod tests {
    use super::Code;
    use std::collections::HashSet;

    #[test]
    fn codes_are_unique_ascending_and_parse_back() {
        let texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.iter().collect::<HashSet<_>>().len(), texts.len());
        assert!(texts.is_sorted());
        for code in Code::ALL {
            assert_eq!(
                code.as_str().parse::<Code>().expect("own text parses"),
                *code
            );
        }
    }
}
