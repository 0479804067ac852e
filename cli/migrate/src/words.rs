//! Directives that no rule of the cache needs: what to say of each.

use crate::nginx::tree::Directive;
use crate::place::Place;
use crate::report::{Note, Notes};
use std::collections::BTreeSet;

/// Directives with one sentence for all of them.
struct Group {
    /// Separated by blanks.
    names: &'static str,
    code: &'static str,
    /// Whether Envoy, or somebody else, has to do it now.
    needed: bool,
    says: &'static str,
}

const GROUPS: &[Group] = &[
    Group {
        names: "http server location events if include server_name set map geo split_clients break",
        code: "structure",
        needed: false,
        says: "What is in it, or uses it, has lines of its own.",
    },
    Group {
        names: "user pid daemon master_process worker_processes worker_connections worker_rlimit_nofile worker_cpu_affinity \
            worker_priority worker_shutdown_timeout multi_accept use pcre_jit load_module env thread_pool accept_mutex \
            timer_resolution lock_file sendfile sendfile_max_chunk tcp_nopush tcp_nodelay aio directio open_file_cache \
            open_file_cache_valid open_file_cache_min_uses open_file_cache_errors types types_hash_max_size \
            types_hash_bucket_size server_names_hash_bucket_size server_names_hash_max_size variables_hash_max_size \
            variables_hash_bucket_size map_hash_max_size map_hash_bucket_size proxy_headers_hash_max_size \
            proxy_headers_hash_bucket_size server_tokens default_type charset resolver resolver_timeout \
            reset_timedout_connection proxy_temp_path proxy_temp_file_write_size proxy_max_temp_file_size \
            client_body_temp_path fastcgi_temp_path uwsgi_temp_path scgi_temp_path client_body_in_file_only log_not_found \
            log_subrequest port_in_redirect server_name_in_redirect absolute_redirect proxy_buffers_number msie_padding \
            msie_refresh etag if_modified_since connection_pool_size request_pool_size output_buffers postpone_output",
        code: "process",
        needed: false,
        says: "It is about nginx's own process, files or memory.",
    },
    Group {
        names: "access_log error_log log_format stub_status status rewrite_log uninitialized_variable_warn",
        code: "logs",
        needed: false,
        says: "Envoy and the control plane have logs and figures of their own (GET /metrics/performance, /metrics).",
    },
    Group {
        names: "proxy_buffering proxy_buffers proxy_buffer_size proxy_busy_buffers_size proxy_request_buffering \
            client_body_buffer_size client_header_buffer_size large_client_header_buffers proxy_socket_keepalive \
            proxy_bind",
        code: "buffers",
        needed: false,
        says: "Envoy has buffers of its own, and what passes through is stored as it goes by.",
    },
    Group {
        names: "listen http2 http3 quic_retry reuseport keepalive_timeout keepalive_requests client_header_timeout \
            client_body_timeout send_timeout lingering_close lingering_timeout lingering_time underscores_in_headers \
            ignore_invalid_headers merge_slashes client_max_body_size real_ip_header set_real_ip_from real_ip_recursive \
            chunked_transfer_encoding limit_rate limit_rate_after",
        code: "listener",
        needed: true,
        says: "Envoy's listener has to say it.",
    },
    Group {
        names: "proxy_read_timeout proxy_send_timeout proxy_next_upstream proxy_next_upstream_tries \
            proxy_next_upstream_timeout proxy_http_version proxy_redirect proxy_intercept_errors error_page \
            recursive_error_pages proxy_cookie_domain proxy_cookie_path proxy_cookie_flags proxy_method \
            proxy_pass_request_headers proxy_pass_request_body proxy_set_body proxy_ignore_client_abort proxy_limit_rate \
            proxy_http_version mirror mirror_request_body rewrite return try_files root alias index autoindex internal \
            sub_filter sub_filter_once sub_filter_types add_before_body add_after_body proxy_buffering_off \
            proxy_force_ranges random_index fastcgi_param fastcgi_index fastcgi_split_path_info satisfy \
            proxy_max_temp_file_size xslt_stylesheet expires grpc_set_header image_filter dav_methods proxy_store \
            proxy_store_access empty_gif",
        code: "routing",
        needed: true,
        says: "No setting says it; Envoy's routes or clusters have to, where it is needed.",
    },
    Group {
        names: "proxy_set_header add_header add_trailer proxy_hide_header proxy_pass_header more_set_headers \
            more_clear_headers more_set_input_headers",
        code: "header_rules",
        needed: true,
        says: "Envoy's routes have to add, set or remove the field; nginx sends the upstream's name as Host unless told otherwise, Envoy the \
               client's.",
    },
    Group {
        names: "auth_basic auth_basic_user_file auth_request auth_request_set auth_jwt auth_jwt_key_file allow deny \
            limit_except secure_link secure_link_md5 valid_referers limit_req limit_req_zone limit_req_status \
            limit_req_log_level limit_req_dry_run limit_conn_status limit_conn_log_level limit_conn_dry_run",
        code: "access",
        needed: true,
        says: "Envoy has to guard it, by a filter before this one.",
    },
    Group {
        names: "gzip gzip_types gzip_vary gzip_proxied gzip_comp_level gzip_min_length gzip_disable gzip_buffers \
            gzip_http_version gzip_static gunzip brotli brotli_types brotli_comp_level brotli_static",
        code: "compression",
        needed: true,
        says: "http2.compression switches Envoy's compressor on, where Envoy takes its configuration from the control plane; the cache stores \
               what the origin sent.",
    },
    Group {
        names: "stream mail",
        code: "not_http",
        needed: true,
        says: "It is not HTTP; nothing of it is migrated.",
    },
    Group {
        names: "upstream_hash_by load_balance affinity affinity_mode session_cookie_name session_cookie_path \
            session_cookie_max_age session_cookie_expires session_cookie_samesite session_cookie_change_on_failure",
        code: "balancing",
        needed: true,
        says: "The settings know no other choice of an endpoint than in turn, by weight.",
    },
    Group {
        names: "enable_cors cors_allow_origin cors_allow_methods cors_allow_headers cors_allow_credentials cors_max_age \
            cors_expose_headers x_forwarded_prefix custom_headers",
        code: "header_rules",
        needed: true,
        says: "Envoy has to add the fields, by its CORS filter before this one or by its routes.",
    },
    Group {
        names: "use_regex service_upstream canary_by_header canary_by_header_value canary_by_cookie canary_weight \
            canary_weight_total canary_by_header_pattern ingress_class",
        code: "structure",
        needed: false,
        says: "What it changes has lines of its own.",
    },
    Group {
        names: "enable_modsecurity modsecurity_snippet enable_owasp_core_rules auth_secret auth_secret_type auth_realm \
            auth_signin auth_method auth_response_headers auth_snippet auth_cache_key auth_cache_duration \
            auth_tls_verify_client auth_tls_verify_depth auth_tls_error_page limit_rps limit_rpm limit_burst_multiplier \
            limit_whitelist limit_allowlist",
        code: "access",
        needed: true,
        says: "Envoy has to guard it, by a filter before this one.",
    },
    Group {
        names: "proxy_cache_min_uses",
        code: "min_uses",
        needed: true,
        says: "A response is stored when it is first asked for; s3_fifo lets those go first that nobody asks for again.",
    },
    Group {
        names: "proxy_cache_convert_head proxy_cache_max_range_offset slice proxy_cache_purge",
        code: "cache_detail",
        needed: true,
        says: "No setting says it; HEAD and ranges are answered from a stored response, and purging is POST /cache/purge or the method PURGE \
               (purge_sources).",
    },
];

/// Says of a directive what the table says, or that it is not known.
pub(crate) fn note(directive: &Directive, notes: &mut Notes) {
    let name = directive.name.as_str();
    let group = GROUPS
        .iter()
        .find(|group| group.names.split(' ').any(|own| own == name));
    let note = match group {
        Some(group) if group.needed => Note::impossible(group.code, group.says),
        Some(group) => Note::irrelevant(group.code, group.says),
        None if name.starts_with("ssl_") || name == "ssl" => {
            Note::impossible("tls", "Envoy's listener has certificates and rules for TLS of its own.")
        }
        None if name.starts_with("proxy_ssl_") => Note::impossible(
            "upstream_tls",
            "Of TLS towards an upstream the settings know tls and trusted_ca (certificates as text).",
        ),
        None if name.contains("_by_lua")
            || name.starts_with("lua_")
            || name.starts_with("js_")
            || name.starts_with("perl") =>
        {
            Note::impossible("program", "It is a program; Envoy has to do what it does.")
        }
        None if name.starts_with("fastcgi_")
            || name.starts_with("uwsgi_")
            || name.starts_with("scgi_")
            || name.starts_with("grpc_") =>
        {
            Note::impossible("other_protocol", "The settings know upstreams that speak HTTP.")
        }
        None if name.starts_with("proxy_cache")
            || name.starts_with("proxy_no_cache")
            || name == "proxy_ignore_headers" =>
        {
            Note::irrelevant("unused", "No location that caches uses it.")
        }
        None if matches!(
            name,
            "proxy_pass" | "proxy_connect_timeout" | "upstream" | "limit_conn" | "limit_conn_zone"
        ) =>
        {
            Note::irrelevant("unused", "No location that is migrated uses it.")
        }
        None => Note::impossible(
            "unknown",
            "This directive is not known here; look whether Envoy has to do what it did.",
        ),
    };
    notes.add(directive, None, note);
}

/// Blocks whose directives have lines of their own in the report.
const OPEN: [&str; 7] = ["http", "server", "location", "events", "if", "limit_except", "upstream"];

/// Says something of each directive of which nothing was said.
pub(crate) fn note_rest(items: &[Directive], notes: &mut Notes) {
    let reported = notes.places();
    note_each(items, &reported, notes);
}

fn note_each(items: &[Directive], reported: &BTreeSet<Place>, notes: &mut Notes) {
    for item in items {
        if !reported.contains(&item.place) {
            note(item, notes);
        }
        if OPEN.contains(&item.name.as_str()) {
            note_each(item.children(), reported, notes);
        }
    }
}
