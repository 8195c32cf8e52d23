//! Pages of codes: requests and WebSockets. Text only.

use super::{Help, Page};
use crate::Code;

pages! {
    InvalidJson: "The request's body is not JSON.";
        because ["The body was cut or is empty", "Quotes that a shell has taken away", "The body is in another encoding than UTF-8"];
        help ["Check the body" => "python3 -m json.tool <FILE>"];
    InvalidRequest: "The body is JSON, but not a request that the protocol allows. The message says what is wrong.";
        because ["A member is missing: jsonrpc, method or id", "params that do not fit the method", "A request before initialize"];
        help ["See what the gateway says about it" => "ggen mcp server logs --category protocol --tail 20"];
    BodyTooLarge: "The request's body is larger than transports.http.max_body.";
        because ["A file was sent as an argument"];
        help ["Send less, or raise transports.http.max_body, then" => "ggen mcp server reload"];
    WrongContentType: "The request is not marked as JSON.";
        because ["curl -d without a header sends a form", "The client is no MCP client"];
        help ["Send the header" => "curl -H 'Content-Type: application/json' -d @<FILE> <URL>"];
    TooDeep: "The request's JSON is nested more deeply than is allowed.";
        because ["A fault in the client", "An attempt to exhaust the server"];
        help ["See where it came from" => "ggen mcp server logs --category transport --tail 20"];
    DuplicateKey: "The request names a member twice, so that two readers could understand two different requests. It is refused.";
        because ["A fault in the client", "An attempt to get around a filter"];
        help ["See where it came from" => "ggen mcp server logs --category protocol --tail 20"];
    HeaderMismatch: "A header (Mcp-Method, Mcp-Name, MCP-Protocol-Version) does not say what the body says.";
        because ["A proxy or the client sets headers by itself", "A client that mixes two protocol versions"];
        help ["See both values" => "ggen mcp server logs --category protocol --tail 20"];
    OriginRefused: "A web page from an origin that is not allowed made the request. Browsers are let in from the listed origins only.";
        because ["The page's origin is missing in transports.http.allowed_origins", "A foreign page tries to reach your local gateway"];
        help ["If the page is yours, add its origin to transports.http.allowed_origins, then" => "ggen mcp server reload"];
    HostRefused: "The request's Host is no name that the gateway answers to. This is what stops DNS rebinding.";
        because ["The gateway is reached by a name that is missing in transports.http.allowed_hosts", "A proxy that changes Host"];
        help ["Add the name to transports.http.allowed_hosts, then" => "ggen mcp server reload"];
    MethodUnknown: "The request's method is not one of the protocol version in use.";
        because ["A misspelt method", "A method of another protocol version", "No upstream server offers it"];
        help ["See what is offered" => "ggen mcp list"];
    ToolNotFound: "No tool of this name is served.";
        because [
            "A misspelt name, or one without its server in front (server__tool)",
            "Its upstream server has not been ready once",
            "The server does not give the tool any more",
        ];
        help ["Ask the servers anew, and see the names" => "ggen mcp list --refresh", "See the upstream servers" => "ggen mcp server status"];
    SessionUnknown: "The request names a session that does not exist. Most clients then begin a new one by themselves.";
        because ["The session was ended, or lay idle too long", "The daemon was restarted and could not keep sessions (GGEN-E5003)", "The request went to another gateway"];
        help ["See sessions and restarts" => "ggen mcp server status --verbose"];
    VersionUnsupported: "The client asks for a protocol version that ggend does not speak.";
        because ["A very old or very new client", "A misspelt MCP-Protocol-Version header"];
        help ["See the version of ggend" => "ggend --version"];
    BatchRefused: "The request is a list of requests, which this protocol version does not have.";
        because ["A client that agreed on a version without batches; only 2025-03-26 has them"];
        help ["Send each request by itself" => ""];
    MethodNotAllowed: "The path exists, but not with this HTTP method. The Allow header lists those that it has.";
        because ["A browser opened the MCP endpoint", "A GET where the protocol version knows POST only"];
        help ["Look at the gateway with a path made for GET" => "curl http://127.0.0.1:3000/health"];
    Overloaded: "As many requests are in flight as the gateway takes at once. New ones are refused until some are done.";
        because ["A client in a loop", "An upstream server has become slow, and calls pile up", "Clients do not take their answers or do not finish what they send, and a worker holds as much for them as server.memory allows"];
        help ["See what is slow" => "ggen mcp server status --verbose", "Try again a little later" => ""];
    PromptNotFound: "No prompt of this name is served.";
        because ["A misspelt name, or one without its server in front (server__prompt)", "Its upstream server has not been ready once"];
        help ["See the upstream servers and how many prompts they give" => "ggen mcp server status --verbose"];
    ResourceNotFound: "No upstream server gives this resource.";
        because ["A misspelt URI", "The resource is gone", "Its upstream server has not been ready once"];
        help ["See the upstream servers and how many resources they give" => "ggen mcp server status --verbose"];
    NotAcceptable: "The client's Accept header allows none of the forms in which an answer can come.";
        because ["A client with a fixed Accept header, such as text/html"];
        help ["Send the header" => "curl -H 'Accept: application/json, text/event-stream' <URL>"];
    InputUnsupported: "The upstream server needs something from the client during the call (an answer of the user, a model's text, its roots), and this client cannot give it.";
        because ["The client did not declare the capability", "The client has no way to be asked"];
        help ["Use a client that has the capability, or a tool that does not ask" => ""];
    StateInvalid: "A call was repeated with a requestState that was not given for it, was used already, or is too old.";
        because ["The answers came after five minutes", "The gateway worker was replaced meanwhile", "Another user's state, or one that was changed", "Other arguments than in the first call"];
        help ["Call the tool again without requestState" => ""];
    TooManyParked: "As many calls wait for answers of their clients as the gateway keeps: 16 of one user, 64 at one server, 1024 in all.";
        because ["A client begins calls that ask for something, and does not come back with the answers"];
        help ["Answer or wait: a call without an answer is given up after five minutes" => "ggen mcp server status --verbose"];
    AnswerLate: "The server asked the client for something during the call, and no answer came within ten minutes.";
        because ["Nobody was there to answer", "The client does not answer what it cannot do"];
        help ["Call the tool again, and answer" => ""];
    TooManyRounds: "The server answered the call with questions again and again, more often than the gateway asks the client.";
        because ["A server that does not accept the answers", "A server that waits by asking to be called again"];
        help ["See what the server says" => "ggen mcp server logs --upstream NAME --tail 20"];
    TaskNotFound: "There is no task of this id for this client: a task is known to whom it was made for only, a legacy one within its session.";
        because ["Another user's task, or another session's", "The task is older than its time to live", "The server was started again"];
        help ["Call the tool again" => ""];
    TaskEnded: "The server made a task of the call, and the task ended without a result: somebody has cancelled it, or the server has forgotten it.";
        because ["The server gave the task up"];
        help ["Call the tool again" => "", "See what the server says" => "ggen mcp server logs --upstream NAME --tail 20"];
    TooManySessions: "As many sessions are open as the gateway keeps.";
        because ["A client opens sessions and does not end them", "More users than expected"];
        help [
            "See the sessions" => "ggen mcp server status --verbose",
            "See who opens them" => "ggen mcp server logs --category protocol --tail 50",
        ];
    SessionMissing: "The request needs the header Mcp-Session-Id, which the answer to initialize gave.";
        because ["The client does not keep the header", "A proxy removes it", "A request before initialize"];
        help ["See what the gateway says about it" => "ggen mcp server logs --category protocol --tail 20"];
    ServerUnknown: "The path /mcp/NAME names no upstream server.";
        because ["A misspelt name", "The entry is missing or switched off"];
        help ["See the names" => "ggen mcp server status"];
    PathUnknown: "The gateway serves nothing at this path. It serves /mcp, /mcp/NAME, /tools, /health and, for WebSockets, /ws.";
        because ["A misspelt path", "A client set up for another server"];
        help ["Try the gateway" => "curl http://127.0.0.1:3000/health"];
    CursorInvalid: "The cursor is none that this gateway gave, or what it pointed at has changed.";
        because ["The list changed between two pages", "The client changed the cursor"];
        help ["Ask for the list again from its beginning" => ""];
    RequestTimeout: "The answer did not begin within transports.http.request_timeout_ms.";
        because ["A slow tool", "An upstream server that is stuck"];
        help [
            "See the slow calls" => "ggen mcp server status --verbose",
            "Raise transports.http.request_timeout_ms, then" => "ggen mcp server reload",
        ];
    UpgradeNeeded: "The path is the one of WebSockets, and the request is no opening handshake of version 13 over HTTP/1.1 (RFC 6455).";
        because ["A browser or curl was pointed at it", "A proxy removes the headers Upgrade and Connection"];
        help ["Try it with a WebSocket client" => "wscat -c ws://localhost:3000/ws", "See what the gateway can do" => "ggen mcp test-connection"];
    SubprotocolUnknown: "The client offers WebSocket subprotocols, and mcp is none of them. A client that offers none is taken as well.";
        because ["A client of another protocol"];
        help ["Offer the subprotocol mcp" => "wscat -s mcp -c ws://localhost:3000/ws"];
    QueryTokenRefused: "The address has ?token= in it, and addresses are written down on their way. It is taken from loopback and over TLS alone.";
        because ["A client that can set no header, over an unprotected line", "transports.websocket.query_token says never"];
        help [
            "Send the header Authorization: Bearer" => "",
            "Take it from everywhere" => "ggen mcp config set transports.websocket.query_token=always",
        ];
    WebsocketAway: "The websocket workers are being replaced, and none of the new ones was ready in time for this connection.";
        because ["They died, and their successors take long to start", "The host is overloaded"];
        help ["Wait until they are back" => "ggen mcp server wait", "See why" => "ggen mcp server logs --level error --tail 20"];
    BinaryMessage: "Messages of MCP are text. A binary message closes the connection with code 1003.";
        because ["The client sends its JSON as binary"];
        help ["Send text messages" => "", "See it happen" => "ggen mcp server logs --category transport --tail 20"];
    SocketSilent: "The client has sent nothing, not even the answer to a ping, for transports.websocket.message_timeout_ms.";
        because ["It is gone without a word", "Its program is stuck", "Its library does not answer pings"];
        help ["Raise the limit" => "ggen mcp config set transports.websocket.message_timeout_ms=60000", "Apply it" => "ggen mcp server reload"];
    SocketSlow: "The client has taken nothing of what it was sent for transports.websocket.message_timeout_ms (close code 1013).";
        because ["Its program is stuck", "It does not read while it writes", "Its line is broken"];
        help ["Raise the limit" => "ggen mcp config set transports.websocket.message_timeout_ms=60000", "Apply it" => "ggen mcp server reload"];
}
