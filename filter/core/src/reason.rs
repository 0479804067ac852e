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
        /// Envoy does not show this filter the content of requests.
        ContentUnseen = "content-unseen",
        /// What is stored for a request depends on its content, which an explanation is not given.
        ContentUnknown = "content-unknown",
        /// More content than the route keeps for its key.
        ContentTooLarge = "content-too-large",
        /// The content takes longer to arrive than the filter waits.
        ContentSlow = "content-slow",
        /// The content's type is not said, or not once, or is that of a stream of messages.
        ContentType = "content-type",
        /// The client waits for leave to send its content.
        ContentExpected = "content-expected",
        /// A condition or a range beside the content.
        ContentConditions = "content-conditions",
        /// The request asks for another method than it has.
        ContentMethod = "content-method",
        /// Fields follow the content.
        ContentTrailers = "content-trailers",
        /// A refresh cannot repeat the request's content.
        ContentOnce = "content-once",
        /// What is refreshed answers several queries, and by which one of them it is asked for is the client's to say.
        ManyQueries = "many-queries",
        /// A GraphQL request that servers may not read alike.
        GraphqlUnclear = "graphql-unclear",
        /// Several GraphQL operations at once.
        GraphqlBatch = "graphql-batch",
        /// A GraphQL mutation or subscription.
        GraphqlNoQuery = "graphql-no-query",
        /// A GraphQL query that the route does not name.
        GraphqlNotAllowed = "graphql-not-allowed",
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
        /// There is no space for it.
        NoSpace = "no-room",
        /// It had expired when it was to be stored.
        ExpiredOnArrival = "expired-on-arrival",
        /// More kinds of selecting fields than are kept for one URL.
        TooManyVarySets = "too-many-vary-sets",
        /// Others wrote at the same place.
        Contended = "contended",
        /// Envoy refused to keep it.
        HostRefused = "host-refused",
        /// Responses of the route depend on something that is not in the key.
        Quarantined = "quarantined",
    }
}
