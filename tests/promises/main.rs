//! What the program promises. Each file tests one promise: with the built program, the simulator and real sockets.
//!
//! Tests judge by the simulator's ledger and by the clients. What the proxy reports counts only if the report is the promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that meets the unexpected has failed"
)]

mod a_client_that_leaves_cancels_no_refresh;
mod a_damaged_store_is_never_overwritten;
#[cfg(feature = "postgres")]
mod a_database_holds_the_grant;
mod a_document_of_the_first_version_is_adopted;
mod a_first_token_replaces_the_grant_once_it_has_worked;
mod a_grant_goes_to_no_other_server;
mod a_grant_that_could_not_be_stored;
mod a_grant_that_needs_a_login_rests;
mod a_guard_is_not_left_open_by_mistake;
mod a_herd_causes_one_refresh;
mod a_lost_answer_is_asked_for_again_by_policy;
mod a_person_mends_what_only_a_person_can;
mod a_refusal_is_about_the_token;
mod a_reload_drops_no_request;
mod a_restart_presents_nothing;
mod a_restored_backup_costs_nothing;
mod a_store_that_fails_spends_no_token;
mod a_token_server_of_its_own_kind;
mod a_wrong_client_secret_costs_no_grant;
mod an_expired_token_is_never_sent;
mod an_imported_token_has_to_work_first;
mod an_unclear_call_is_followed_up;
mod an_upstream_that_requires_http1_gets_it;
mod attacks_stay_within_the_memory_limit;
mod attempts_come_in_time;
mod browser;
mod clients_cannot_change_readiness;
mod commands_have_exit_codes;
mod configured_files_are_files;
mod descriptors_are_left_for_what_matters;
mod documents_are_true;
mod every_fault_of_the_token_endpoint;
mod every_grant_works;
mod messages_say_what_to_do;
mod names_are_looked_up_for_all_who_wait;
mod only_an_operator_logs_in_with_a_browser;
mod plaintext_stays_on_this_machine;
mod probes_are_always_answered;
mod refusals_are_bounded;
mod refused_clients_hold_no_connection;
mod rotation_under_load_fails_nobody;
mod secrets_stay_secret;
mod the_demo_works;
mod the_drain_is_orderly;
mod the_page_shows_what_happens;
mod the_store_is_encrypted_by_its_keys;
mod unread_responses_hold_nothing;
mod what_belongs_to_another_user_is_left_alone;
