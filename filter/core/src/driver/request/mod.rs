//! The life of a request, step by step: from its head over its response to its end. It owns which step is next and where a paused
//! request goes on.

pub(super) mod content;
pub(super) mod decide;
pub(super) mod on_end;
pub(super) mod on_request;
pub(super) mod on_response;
pub(super) mod overdue;
pub(super) mod resume;
pub(super) mod run;
pub(super) mod send;
