//! The protocol's methods and revisions.

/// A client's request methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the protocol's")]
pub enum Method {
    Initialize,
    Ping,
    SetLevel,
    Discover,
    Listen,
    ToolsList,
    ToolsCall,
    PromptsList,
    PromptsGet,
    ResourcesList,
    TemplatesList,
    ResourcesRead,
    Subscribe,
    Unsubscribe,
    Complete,
    TaskGet,
    TaskUpdate,
    TaskCancel,
    TaskResult,
    TaskList,
    Other,
}

impl Method {
    const NAMES: [(&'static str, Self); 20] = [
        ("tools/call", Self::ToolsCall),
        ("tools/list", Self::ToolsList),
        ("prompts/get", Self::PromptsGet),
        ("prompts/list", Self::PromptsList),
        ("resources/read", Self::ResourcesRead),
        ("resources/list", Self::ResourcesList),
        ("resources/templates/list", Self::TemplatesList),
        ("resources/subscribe", Self::Subscribe),
        ("resources/unsubscribe", Self::Unsubscribe),
        ("completion/complete", Self::Complete),
        ("logging/setLevel", Self::SetLevel),
        ("initialize", Self::Initialize),
        ("ping", Self::Ping),
        ("server/discover", Self::Discover),
        ("subscriptions/listen", Self::Listen),
        ("tasks/get", Self::TaskGet),
        ("tasks/update", Self::TaskUpdate),
        ("tasks/cancel", Self::TaskCancel),
        ("tasks/result", Self::TaskResult),
        ("tasks/list", Self::TaskList),
    ];

    /// The method of that name; what the protocol does not name is `Other`.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(Self::Other, |(_, method)| *method)
    }

    /// Its name, or `other`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, method)| *method == self)
            .map_or("other", |(name, _)| name)
    }

    /// Whether it is one of `tasks/…`.
    #[must_use]
    pub const fn is_about_tasks(self) -> bool {
        matches!(
            self,
            Self::TaskGet | Self::TaskUpdate | Self::TaskCancel | Self::TaskResult | Self::TaskList
        )
    }

    /// Whether its result may be `input_required` (MCP 2026-07-28, MRTR).
    #[must_use]
    pub const fn may_ask(self) -> bool {
        matches!(
            self,
            Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead
        )
    }

    /// Whether it leaves nothing behind in a session, and takes nothing from it but what the client
    /// can be asked for.
    #[must_use]
    pub const fn needs_no_session(self) -> bool {
        matches!(
            self,
            Self::Ping
                | Self::ToolsList
                | Self::ToolsCall
                | Self::PromptsList
                | Self::PromptsGet
                | Self::ResourcesList
                | Self::TemplatesList
                | Self::ResourcesRead
                | Self::Complete
        )
    }

    /// Whether it changes nothing at a server, so that it may be sent twice.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(
            self,
            Self::ToolsList
                | Self::PromptsList
                | Self::PromptsGet
                | Self::ResourcesList
                | Self::TemplatesList
                | Self::ResourcesRead
                | Self::Complete
                | Self::TaskGet
                | Self::TaskList
        )
    }

    /// Whether it exists in an era.
    #[must_use]
    pub const fn exists(self, modern: bool) -> bool {
        match self {
            Self::Initialize
            | Self::Ping
            | Self::SetLevel
            | Self::Subscribe
            | Self::Unsubscribe => !modern,
            Self::TaskResult | Self::TaskList => !modern,
            Self::Discover | Self::Listen | Self::TaskUpdate => modern,
            _ => true,
        }
    }
}

/// A legacy revision (negotiated by `initialize`), oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the revisions' dates")]
pub enum Legacy {
    L2024_11_05,
    L2025_03_26,
    L2025_06_18,
    L2025_11_25,
}

/// The modern revision (2026-07-28: stateless requests).
pub const MODERN: &str = "2026-07-28";

/// Every revision served to clients, newest first.
pub const SUPPORTED: [&str; 5] = [
    MODERN,
    "2025-11-25",
    "2025-06-18",
    "2025-03-26",
    "2024-11-05",
];

impl Legacy {
    /// The newest one.
    pub const LATEST: Self = Self::L2025_11_25;
    /// All of them, newest first.
    pub const ALL: [Self; 4] = [
        Self::L2025_11_25,
        Self::L2025_06_18,
        Self::L2025_03_26,
        Self::L2024_11_05,
    ];

    /// The revision of that date.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
    }

    /// Its date.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L2024_11_05 => "2024-11-05",
            Self::L2025_03_26 => "2025-03-26",
            Self::L2025_06_18 => "2025-06-18",
            Self::L2025_11_25 => "2025-11-25",
        }
    }
}

/// Log levels of the protocol (RFC 5424 §6.2.1), least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the RFC's")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl LogLevel {
    const NAMES: [(&'static str, Self); 8] = [
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("notice", Self::Notice),
        ("warning", Self::Warning),
        ("error", Self::Error),
        ("critical", Self::Critical),
        ("alert", Self::Alert),
        ("emergency", Self::Emergency),
    ];

    /// The level of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, level)| *level)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, level)| *level == self)
            .map_or("info", |(name, _)| name)
    }
}
