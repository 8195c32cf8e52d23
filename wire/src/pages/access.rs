//! Pages of codes: who may ask, certificates and limits. Text only.

use super::{Help, Page};
use crate::Code;

pages! {
    InvalidApiKey: "The request carries an API key that opens nothing here. Wrong keys are refused even where none is needed.";
        because [
            "The key was revoked, or has expired; the daemon's log says which",
            "A key of another gateway, or one that was cut when it was copied",
            "The key was made in another state directory: as another user than the daemon's",
        ];
        help [
            "See the keys and how they stand" => "ggen mcp auth list-api-keys",
            "Make a new one" => "ggen mcp auth generate-api-key",
            "See why it was refused" => "ggen mcp server logs --category auth",
        ];
    TokenExpired: "The token's time (exp) is over.";
        because ["The client did not refresh its token in time", "The clock of this host or of the issuer is wrong"];
        help [
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
        help [
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
        help [
            "Make a key, and send it as Authorization: Bearer <KEY>" => "ggen mcp auth generate-api-key",
            "See which check of a token fails" => "ggen mcp auth verify-token <TOKEN>",
            "See why it was refused" => "ggen mcp server logs --category auth",
        ];
    InsufficientScope: "The token is good, but its scopes do not allow this. The answer's WWW-Authenticate names the scopes that are needed.";
        because ["The client asked the authorization server for fewer scopes", "auth.oauth2.scopes was extended"];
        help ["See the token's scopes" => "ggen mcp auth decode-token <TOKEN>", "See which are needed" => "ggen mcp config get auth.oauth2.scopes"];
    KeyStoreUnusable: "The file with the API keys (auth.sqlite in the state directory) cannot be opened, read or written. The daemon goes on with the keys that it knew.";
        because ["It belongs to another user", "The disk is full, or the directory cannot be written", "It was written by a newer version"];
        help ["Look at its owner and mode" => "ls -la <STATE DIRECTORY>", "See free space" => "df -h", "See which version runs" => "ggend --version"];
    IssuerUnreachable: "The keys of a token issuer (auth.jwt.jwks_url, auth.oauth2.issuer) cannot be fetched. Keys that were fetched before go on being used.";
        because [
            "The address is wrong, or is not reachable from this host",
            "Its certificate is not trusted by this host",
            "It answers with a redirect, which is not followed, or with something that is no key set",
        ];
        help [
            "See what was tried" => "ggen mcp server logs --category auth",
            "See which address is meant" => "ggen mcp config get auth",
            "Try it" => "curl -v <URL>",
        ];
    RateLimited: "The client sent more requests than it may, has too many in flight, or a tool is at its own limit. Nothing was done; Retry-After says when there is room again.";
        because ["A client in a loop", "A limit in rate_limit or tools that is lower than what clients need", "Several clients that share one principal, such as anonymous"];
        help ["See which limit it was" => "curl -s http://127.0.0.1:9464/metrics | grep ggend_rate_limited_total", "Raise it" => "ggen mcp config set rate_limit.requests_per_second=100 && ggen mcp server reload"];
    CertificateVerifyFailed: "A certificate was shown that is not accepted: signed by an authority that is not known, expired, revoked, or not made for that name. Of clients: none was shown where one is required.";
        because [
            "The client shows no certificate, or one of another authority than auth.mtls.ca_cert",
            "The certificate has expired, or is in the revocation list auth.mtls.crl",
            "Its name is not in auth.mtls.allowed_names",
            "Of a server: the client does not know its authority, as with a self-signed certificate",
        ];
        help [
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
        help [
            "See which file, and what is wrong" => "ggen mcp server logs --level error",
            "Compare the public keys of both" => "openssl x509 -in <CERT> -noout -pubkey && openssl pkey -in <KEY> -pubout",
            "Take the files over once they are right" => "ggen mcp server reload",
        ];
    CertificateExpiring: "A certificate of the daemon has expired, or does within 30 days. Clients refuse one that has.";
        because ["It was not renewed", "It was renewed, but not in the file that the daemon reads", "The clock is wrong"];
        help [
            "See its dates" => "openssl x509 -in <FILE> -noout -dates",
            "Put the new one into the file; it is taken over within seconds, or at once" => "ggen mcp server reload",
        ];
    CertificateSelfSigned: "The daemon serves HTTPS with a certificate that it made itself, because none is configured. Clients do not trust it unless they are told to.";
        because ["transports.http.ssl.cert and .key are not set"];
        help [
            "Tell a client to trust it" => "curl --cacert ~/.ggen/state/tls/self-signed.pem https://localhost:3443/health",
            "Make an authority of your own, and a certificate signed by it" => "ggen mcp auth generate-ca && ggen mcp auth generate-cert --server localhost",
        ];
}
