//! Why responses are not stored.

use optimizer_proto::codes;

codes! {
    /// Why a response is not stored.
    NotStored {
        /// Method other than GET.
        Method = "method",
        /// `no-store` in the request.
        RequestNoStore = "request-no-store",
        /// `no-store` in the response.
        NoStore = "no-store",
        /// `private`.
        Private = "private",
        /// Status not final or not understood.
        Status = "status",
        /// 206 that answers no range, or does not say which.
        Partial = "partial",
        /// 304 that freshens nothing stored here.
        NotModified = "not-modified",
        /// Answer to a request with `Authorization` and no permission.
        Authorization = "authorization",
        /// `Vary: *`.
        VaryStar = "vary-star",
        /// No freshness, no validator: of no use.
        NoFreshness = "no-freshness",
        /// Changes the client's state, and the route does not say what then; or it has no explicit freshness besides.
        SetCookie = "set-cookie",
        /// A status that speaks of the one request.
        RequestStatus = "request-status",
        /// An Envoy behind this one says something about the one exchange.
        EnvoySignal = "envoy-signal",
        /// The request has credentials, and the origin gave no freshness.
        Credentials = "credentials",
        /// The content's end is not provable.
        UnprovableEnd = "unprovable-end",
        /// Head larger than the format holds.
        HeadTooLarge = "head-too-large",
        /// More tags, or longer ones, than are kept: a purge by one of the others would not find it.
        TooManyTags = "too-many-tags",
    }
}
