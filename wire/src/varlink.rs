//! Varlink framing: one JSON object, then a NUL byte (<https://varlink.org/Method-Call>).
