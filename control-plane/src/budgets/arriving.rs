//! What may come in, how much of it at a time, and how long it may take.

use super::{GUARDED, Row, bytes, count, time};
use crate::app::Config;
use crate::cache::{self, snapshot_file as snapshot};
use crate::net::{bodies, incoming, outbox, places, tls, unread};
use crate::transport::{grpc, rest};
use crate::xds;
use control_domain::settings::change;
use control_domain::settings::shape;

const STALLING: &str = "tests/stories/stalling.rs";
const BUDGETS: &str = "tests/stories/budgets.rs";
const SNAPSHOTS: &str = "control-plane/src/cache/snapshot_file.rs";
const PORTS: &str = "control-plane/src/app/ports_tests.rs";
const BODIES: &str = "control-plane/src/net/bodies.rs";

pub(super) fn rows(set: &Config) -> Vec<Row> {
    let limits = places::Limits::within(None);
    vec![
        (
            "body of a REST request",
            bytes(rest::MAX_BODY),
            "`MAX_BODY`",
            GUARDED,
            "what_is_too_much_too_large_or_too_slow_is_turned_away",
        ),
        (
            "a module of the filter",
            bytes(xds::MAX_BYTES),
            "`modules.rs`",
            BUDGETS,
            "a_module_is_as_large_as_may_be_and_no_larger",
        ),
        (
            "modules kept",
            count(xds::MAX_MODULES),
            "`modules.rs`",
            "control-plane/src/xds/modules.rs",
            "the_oldest_that_nobody_runs_makes_room",
        ),
        (
            "a document: values, levels, blanks",
            format!(
                "{}, {}, {}",
                count(shape::MAX_VALUES),
                shape::MAX_DEPTH,
                bytes(shape::MAX_BLANKS)
            ),
            "`shape.rs`",
            "control-plane/domain/src/settings/shape.rs",
            "bytes_are_counted_outside_of_texts",
        ),
        (
            "operations of a JSON Patch; texts of what it makes",
            format!("{}; {}", count(change::MAX_OPERATIONS), bytes(shape::MAX_TEXT)),
            "`change.rs`",
            BUDGETS,
            "patches_that_grow_are_refused_before_they_do",
        ),
        (
            "a snapshot that is restored, on disk",
            format!("{} MB", count(set.restore_max_mb)),
            "`RESTORE_MAX_MB`",
            "tests/stories/backup.rs",
            "a_restore_needs_no_folder_for_temporary_files",
        ),
        (
            "restores at a time",
            count(cache::RESTORES),
            "`RESTORES`",
            STALLING,
            "of_two_restores_the_second_is_refused",
        ),
        (
            "work of a restore whose client has left",
            "none".to_owned(),
            "`restores.rs`",
            STALLING,
            "a_restore_ends_with_its_client",
        ),
        (
            "of a snapshot: an entry; what stands before and behind them; entries that are none",
            format!(
                "{}; {}; {}",
                bytes(snapshot::MAX_PIECE),
                bytes(snapshot::MAX_FIELDS),
                count(snapshot::MALFORMED)
            ),
            "`snapshot_file.rs`",
            SNAPSHOTS,
            "pieces_of_a_snapshot_are_bounded",
        ),
        (
            "a snapshot unpacked, whatever came",
            bytes(usize::try_from(snapshot::AT_LEAST).unwrap()),
            "`snapshot_file.rs`",
            SNAPSHOTS,
            "no_more_is_unpacked_than_a_snapshot_can_be",
        ),
        (
            "a larger one: times what came",
            count(snapshot::RATIO),
            "`snapshot_file.rs`",
            SNAPSHOTS,
            "a_document_is_at_most_a_hundred_times_as_long_as_what_came",
        ),
        (
            "until the first bytes of a connection",
            time(incoming::FIRST),
            "`incoming.rs`",
            PORTS,
            "a_connection_that_says_nothing_ends_after_ten_seconds",
        ),
        (
            "a TLS handshake",
            time(tls::HANDSHAKE),
            "`tls.rs`",
            PORTS,
            "hands_are_shaken_within_ten_seconds",
        ),
        (
            "the head of a request",
            time(rest::HEAD),
            "`server.rs`",
            PORTS,
            "the_head_of_a_request_is_whole_within_ten_seconds",
        ),
        (
            "a pause in a body; an Envoy's message until it is whole",
            time(set.body_pause),
            "`BODY_PAUSE`",
            STALLING,
            "a_body_that_pauses_is_given_up",
        ),
        (
            "a call of gRPC until it is whole",
            time(set.body_pause),
            "`BODY_PAUSE`",
            STALLING,
            "a_call_that_stalls_ends_and_its_neighbours_do_not",
        ),
        (
            "until the Hello of a control stream; the first request of xDS",
            [grpc::HELLO, xds::FIRST].map(time).join("; "),
            "`control_link.rs`, `service.rs`",
            PORTS,
            "the_first_message_of_a_stream_comes_within_ten_seconds",
        ),
        (
            "a whole request",
            time(rest::REQUEST_TIMEOUT),
            "`REQUEST_TIMEOUT`",
            PORTS,
            "a_request_is_given_up_on_after_a_minute",
        ),
        (
            "of a port: bodies and messages being received; of one address; without those up to",
            [bodies::BUDGET, bodies::BUDGET_EACH, bodies::SMALL]
                .map(bytes)
                .join("; "),
            "`bodies.rs`",
            BODIES,
            "there_is_so_much_room_in_all_and_for_each_address",
        ),
        (
            "of a port: the smaller ones, and calls of the shared tier until they are answered; of one address",
            [bodies::SMALL_BUDGET, bodies::SMALL_BUDGET_EACH].map(bytes).join("; "),
            "`bodies.rs`",
            BODIES,
            "what_is_small_has_so_much_room_in_all_and_for_each_address",
        ),
        (
            "gRPC calls of an address at a time, whatever they wait for; of all",
            format!(
                "{}; {}",
                count(set.connections_per_address.get() * places::CALLS_PER_CONNECTION),
                count(places::GRPC)
            ),
            "`CONNECTIONS_PER_ADDRESS`, `calls.rs`",
            PORTS,
            "so_many_calls_are_answered_at_a_time",
        ),
        (
            "REST requests of an address at a time; of all",
            format!("{}; {}", count(set.connections_per_address.get()), count(places::REST)),
            "`CONNECTIONS_PER_ADDRESS`, `bodies.rs`",
            PORTS,
            "so_many_calls_are_answered_at_a_time",
        ),
        (
            "requests of a connection at a time: REST, gRPC",
            format!("{}, {}", rest::STREAMS, grpc::STREAMS),
            "`server.rs`, `grpc/mod.rs`",
            STALLING,
            "a_connection_has_so_many_requests_at_a_time",
        ),
        (
            "received ahead of being read, bytes: of a call, of a gRPC connection, of a REST connection; of all of an address at a port",
            format!(
                "{}, {}, {}; {}",
                count(grpc::STREAM_WINDOW),
                count(grpc::WINDOW),
                count(rest::WINDOW),
                count(grpc::WINDOW.max(rest::WINDOW) as usize * set.connections_per_address.get())
            ),
            "`grpc/mod.rs`, `server.rs`",
            PORTS,
            "so_much_may_be_sent_ahead",
        ),
        (
            "of a port: answers that are not read yet; of one address; of REST, those longer than",
            [unread::BUDGET, unread::BUDGET_EACH, bodies::SMALL]
                .map(bytes)
                .join("; "),
            "`unread.rs`, `answering.rs`",
            "control-plane/src/net/unread.rs",
            "so_much_waits_to_be_read_in_all_and_of_each_address",
        ),
        (
            "an answer until it is read: a message of gRPC, 64 KB of REST; then its connection is closed",
            time(set.body_pause),
            "`BODY_PAUSE`",
            "control-plane/src/app/unread_tests.rs",
            "answers_of_the_shared_tier_that_are_not_read_take_room_for_half_a_minute",
        ),
        (
            "messages of a stream behind the one that is being read",
            count(outbox::QUEUED),
            "`outbox.rs`",
            "control-plane/src/net/outbox.rs",
            "one_message_waits_behind_the_one_that_is_read",
        ),
        (
            "connections: REST, gRPC, descriptors for everything else",
            format!("{}, {}, {}", count(limits.rest), count(limits.grpc), places::RESERVE),
            "`places.rs`",
            "control-plane/src/net/places.rs",
            "each_port_has_descriptors_of_its_own",
        ),
        (
            "connections of an address",
            count(set.connections_per_address.get()),
            "`CONNECTIONS_PER_ADDRESS`",
            PORTS,
            "an_address_has_so_many_connections_at_a_port",
        ),
    ]
}
