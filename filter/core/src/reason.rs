//! Why the filter did with a request or a response what it did, as telemetry counts it and `Cache-Status` tells it.

use optimizer_proto::codes;

codes! {
    /// A reason of the filter's own; those of RFC 9111 are with its rules in `cache`.
    Reason {
        /// The authority has user information (RFC 3986 section 3.2.1).
        UserInformation = "user-information",
        /// The path has a fragment.
        Fragment = "fragment",
        /// What was said about the scheme before Envoy contradicts itself.
        ForwardedProto = "forwarded-proto",
        /// Replies of the filter are rewritten on their way out.
        ReplyRewritten = "reply-rewritten",
        /// A filter behind this one has another route chosen.
        RoutedAnew = "routed-anew",
        /// A filter behind this one refuses requests.
        GuardBehind = "guard-behind",
        /// What a request brings chooses among the endpoints of its cluster.
        ChosenByMetadata = "chosen-by-metadata",
        /// What selects the response was given to the request behind this filter.
        GivenBehind = "given-behind",
        /// Envoy does not say where it sends the request.
        NoRoute = "no-route",
        /// Not all purges are known yet.
        CatchingUp = "catching-up",
        /// The request asks for another protocol.
        Upgrade = "upgrade",
        /// A response with an end that cannot be known.
        Endless = "endless",
        /// Larger than may be stored.
        TooLarge = "too-large",
        /// It was cut short.
        Incomplete = "incomplete",
        /// Its length is not known.
        LengthUnknown = "length-unknown",
        /// A 304 does not belong to what is stored.
        ValidatorMismatch = "validator-mismatch",
        /// What a refresh brought differs in what selects it.
        RefreshDiffers = "refresh-differs",
        /// Envoy changes requests to this upstream.
        RequestChanged = "request-changed",
        /// Whether Envoy changes requests to this upstream is not known yet.
        NotYetKnown = "not-yet-known",
        /// A refresh brought something else than a client's request.
        ResponseChanged = "response-changed",
        /// A refresh of the filter's own has failed lately.
        BackgroundFailed = "background-failed",
        /// There is no room for it.
        NoRoom = "no-room",
        /// It had expired when it was to be stored.
        ExpiredOnArrival = "expired-on-arrival",
        /// More kinds of selecting fields than are kept for one URL.
        TooManyVarySets = "too-many-vary-sets",
        /// Others wrote at the same place.
        Contended = "contended",
        /// Envoy refused to keep it.
        HostRefused = "host-refused",
    }
}
