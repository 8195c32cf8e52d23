//! The command line of `ggen mcp auth`. Definitions only; `ggend auth` checks the values.

use clap::Subcommand;
use std::path::PathBuf;

/// `ggen mcp auth …`
#[derive(Debug, Subcommand)]
pub(crate) enum Auth {
    /// Make an API key; it is shown once
    GenerateApiKey {
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// When it ends: 30m, 12h, 90d; otherwise never
        #[arg(long, value_name = "TIME")]
        expires_in: Option<String>,
        /// The client that it belongs to; rules may name it
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// Roles that rules may name, separated by commas
        #[arg(long, value_name = "NAMES")]
        permissions: Option<String>,
        /// Globs of tools, separated by commas: only these may be called
        #[arg(long, value_name = "GLOBS")]
        tools: Option<String>,
    },
    /// List the API keys: what they are for, and how they stand
    ListApiKeys,
    /// Revoke an API key, in force within a second
    RevokeApiKey {
        /// Its id, as the list shows it; `-`: the key itself, from standard input
        id: String,
    },
    /// Make a secret for signed tokens (auth.jwt.secret)
    GenerateJwtSecret,
    /// Make a token, signed with auth.jwt.secret
    GenerateToken {
        /// Whose it is (sub)
        #[arg(long, value_name = "NAME")]
        subject: Option<String>,
        /// The client that it is for (client_id)
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// Scopes, separated by spaces or commas
        #[arg(long, value_name = "SCOPES")]
        scope: Option<String>,
        /// Another claim; repeated for several
        #[arg(long = "claim", value_name = "NAME=VALUE")]
        claims: Vec<String>,
        /// Instead of auth.jwt.audience (aud)
        #[arg(long, value_name = "TEXT")]
        audience: Option<String>,
        /// Instead of auth.jwt.expiration: 30m, 12h, 90d
        #[arg(long, value_name = "TIME")]
        expires_in: Option<String>,
    },
    /// Verify a token or an API key as the daemon does, and name the check that fails
    VerifyToken {
        /// The token; `-` or nothing: from standard input, so that no list of processes shows it
        token: Option<String>,
    },
    /// Show what a token says, without verifying it
    DecodeToken {
        /// The token; `-` or nothing: from standard input
        token: Option<String>,
    },
    /// Revoke a token by its jti, in force within a second
    RevokeToken {
        /// The token, or the id of one that was made here; `-` or nothing: from standard input
        token: Option<String>,
        /// The jti of a token of any issuer, as it is
        #[arg(long, value_name = "ID", conflicts_with = "token")]
        jti: Option<String>,
    },
    /// Make an authority of your own: ca.pem and ca.key
    GenerateCa(GenerateCa),
    /// Make a certificate signed by it, for a server or a client
    GenerateCert(GenerateCert),
}

/// `ggen mcp auth generate-ca`
#[derive(Debug, clap::Args)]
pub(crate) struct GenerateCa {
    /// Its name
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) made: Made,
}

/// `ggen mcp auth generate-cert`
#[derive(Debug, clap::Args)]
pub(crate) struct GenerateCert {
    /// A host name or address that it serves; may be repeated
    #[arg(long, value_name = "HOST", required_unless_present = "client")]
    pub(crate) server: Vec<String>,
    /// Whom it is for, as a client: a name, a host name, an e-mail address or a URI
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// The authority's certificate; otherwise ca.pem
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The authority's key; otherwise ca.key
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) made: Made,
}

/// Where a certificate goes.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Made {
    /// The folder for the files; otherwise the working directory
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// How many days it is valid
    #[arg(long, value_name = "N")]
    pub(crate) days: Option<u32>,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
}
