/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The client against a scripted peer: what a healthy QEMU never does.
 */
#include "qmp-client.h"
#include "qmp-peer.h"
#include "suite.h"
#include "worker.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A client and its peer, and what the script and the worker tell each other. */
typedef struct {
  char *path;
  BkQmpPeer *peer;
  BkQmpClient *client;
  GCancellable *cancellable;
  GString *log; /* of the notify and event functions */
  gint flag;
  bool stop_on_event;
} Fixture;

static void
note_state (BkQmpClient *client G_GNUC_UNUSED, BkQmpState state, gpointer data)
{
  static const char *const words[] = { "down", "connecting", "busy", "ready" };
  g_string_append_printf (((Fixture *)data)->log, "%s ", words[state]);
}

static void
note_event (BkQmpClient *client, const char *name, json_object *event_data, gpointer data)
{
  Fixture *fixture = data;
  g_string_append_printf (fixture->log, "%s%s ", name, event_data ? json_object_to_json_string (event_data) : "");
  if (fixture->stop_on_event)
    bk_qmp_client_stop (client);
}

static void
set_up (Fixture *fixture, BkQmpScript script)
{
  g_autofree char *folder = bk_suite_folder ();
  *fixture = (Fixture){ .path = g_build_filename (folder, "qmp", NULL), .log = g_string_new (NULL) };
  fixture->cancellable = g_cancellable_new ();
  fixture->client = bk_qmp_client_new (fixture->path);
  bk_qmp_client_set_notify (fixture->client, note_state, note_event, fixture);
  fixture->peer = script ? bk_qmp_peer_start (fixture->path, script, fixture) : NULL;
  bk_qmp_client_start (fixture->client);
}

static void
tear_down (Fixture *fixture)
{
  bk_qmp_client_stop (fixture->client);
  bk_qmp_client_unref (fixture->client);
  bk_qmp_peer_free (fixture->peer);
  g_object_unref (fixture->cancellable);
  g_string_free (fixture->log, TRUE);
  g_free (fixture->path);
}

static void
play (BkQmpScript script, void (*work) (gpointer))
{
  Fixture fixture;
  set_up (&fixture, script);
  bk_worker_run (work, &fixture);
  tear_down (&fixture);
}

static void
wait_ready (const Fixture *fixture)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = bk_qmp_client_wait_ready (fixture->client, 10000, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

/* Calls @name, which must be answered by @expected. */
static void
call (const Fixture *fixture, const char *name, const char *expected)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) result = NULL;
  gboolean ok = bk_qmp_client_call (fixture->client, name, NULL, &result, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert_str_eq (json_object_to_json_string_ext (result, JSON_C_TO_STRING_PLAIN), expected);
}

/* Calls @name, which must fail with @code and a text that holds @part. */
static void
call_fails (const Fixture *fixture, const char *name, BkErrorCode code, const char *part)
{
  g_autoptr (GError) error = NULL;
  json_object *result = NULL;
  ck_assert (!bk_qmp_client_call (fixture->client, name, NULL, &result, fixture->cancellable, &error));
  ck_assert_ptr_null (result);
  ck_assert_ptr_nonnull (error);
  ck_assert_msg (strstr (error->message, part) != NULL, "%s", error->message);
  bk_assert_error (error, code);
}

static void
answer_next (BkQmpPeer *peer, const char *name, const char *value)
{
  g_autoptr (json_object) command = bk_qmp_peer_expect (peer, name);
  bk_qmp_peer_answer (peer, command, value);
}

/* --- connecting --- */

static void
silent_then_greet (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_accept (peer);
  bk_qmp_peer_wait_close (peer);
  bk_qmp_peer_greet (peer);
  bk_qmp_peer_wait_close (peer);
}

START_TEST (no_greeting_is_busy)
{
  Fixture fixture;
  set_up (&fixture, silent_then_greet);
  while (bk_qmp_client_state (fixture.client) == BK_QMP_CONNECTING)
    g_main_context_iteration (NULL, TRUE);
  ck_assert_int_eq (bk_qmp_client_state (fixture.client), BK_QMP_BUSY);
  g_autofree char *reason = bk_qmp_client_reason (fixture.client);
  ck_assert_msg (strstr (reason, "busy") && strstr (reason, fixture.path), "%s", reason);
  while (bk_qmp_client_state (fixture.client) != BK_QMP_READY)
    g_main_context_iteration (NULL, TRUE);
  ck_assert_str_eq (fixture.log->str, "connecting busy ready ");
  tear_down (&fixture);
}
END_TEST

static void
say_ssh (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_accept (peer);
  bk_qmp_peer_send (peer, "SSH-2.0-OpenSSH_9.2\r\n");
  bk_qmp_peer_wait_close (peer);
  bk_qmp_peer_accept (peer);
  bk_qmp_peer_send (peer, "{\"hello\": 1}\r\n");
  bk_qmp_peer_wait_close (peer);
}

START_TEST (other_servers_are_refused)
{
  Fixture fixture;
  set_up (&fixture, say_ssh);
  while (bk_qmp_client_state (fixture.client) == BK_QMP_CONNECTING)
    g_main_context_iteration (NULL, TRUE);
  ck_assert_int_eq (bk_qmp_client_state (fixture.client), BK_QMP_DOWN);
  g_autofree char *reason = bk_qmp_client_reason (fixture.client);
  ck_assert_msg (strstr (reason, "not a QMP monitor") && strstr (reason, "SSH-2.0"), "%s", reason);
  g_autofree char *second = bk_qmp_client_reason (fixture.client);
  while (strstr (second, "SSH")) {
    g_main_context_iteration (NULL, TRUE);
    g_free (second);
    second = bk_qmp_client_reason (fixture.client);
  }
  ck_assert_msg (strstr (second, "greeting") != NULL, "%s", second);
  tear_down (&fixture);
}
END_TEST

static void
work_without_server (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (GError) error = NULL;
  gint64 start = g_get_monotonic_time ();
  ck_assert (!bk_qmp_client_wait_ready (fixture->client, 300, NULL, &error));
  ck_assert_int_ge (g_get_monotonic_time () - start, 300000);
  ck_assert_msg (strstr (error->message, "no such socket '"), "%s", error->message);
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  call_fails (fixture, "query-status", BK_ERROR_UNREACHABLE, "no such socket '");
  ck_assert_int_eq (symlink ("/etc/passwd", fixture->path), 0);
  ck_assert (!bk_qmp_client_wait_ready (fixture->client, 300, NULL, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  g_cancellable_cancel (fixture->cancellable);
  ck_assert (!bk_qmp_client_wait_ready (fixture->client, 10000, fixture->cancellable, &error));
  bk_assert_error (error, BK_ERROR_CANCELLED);
}

START_TEST (missing_socket_is_down)
{
  Fixture fixture;
  set_up (&fixture, NULL);
  bk_worker_run (work_without_server, &fixture);
  ck_assert_str_eq (fixture.log->str, "connecting down ");
  tear_down (&fixture);
}
END_TEST

START_TEST (long_path_is_down)
{
  g_autofree char *path = g_strnfill (200, 'x');
  BkQmpClient *client = bk_qmp_client_new (path);
  bk_qmp_client_start (client);
  while (bk_qmp_client_state (client) == BK_QMP_CONNECTING)
    g_main_context_iteration (NULL, TRUE);
  g_autofree char *reason = bk_qmp_client_reason (client);
  ck_assert_msg (strstr (reason, "107 bytes") != NULL, "%s", reason);
  bk_qmp_client_stop (client);
  bk_qmp_client_unref (client);
}
END_TEST

static void
refuse_negotiation (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_accept (peer);
  bk_qmp_peer_send (peer, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
  json_object *command = bk_qmp_peer_expect (peer, "qmp_capabilities");
  ck_assert (!json_object_object_get_ex (command, "arguments", NULL)); /* oob was not offered */
  json_object_put (command);
  bk_qmp_peer_send (peer, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no way\"}, \"id\": 0}\r\n");
  bk_qmp_peer_wait_close (peer);
}

START_TEST (refused_negotiation_is_down)
{
  Fixture fixture;
  set_up (&fixture, refuse_negotiation);
  while (bk_qmp_client_state (fixture.client) == BK_QMP_CONNECTING)
    g_main_context_iteration (NULL, TRUE);
  g_autofree char *reason = bk_qmp_client_reason (fixture.client);
  ck_assert_msg (strstr (reason, "no way") != NULL, "%s", reason);
  ck_assert_uint_eq (bk_qmp_client_generation (fixture.client), 0);
  tear_down (&fixture);
}
END_TEST

static void
serve_twice (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  for (int i = 0; i < 2; i++) {
    bk_qmp_peer_greet (peer);
    answer_next (peer, "a", "1");
    bk_qmp_peer_close (peer);
  }
  bk_qmp_peer_greet (peer);
  bk_qmp_peer_wait_close (peer);
}

static void
work_over_restart (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (fixture->client, "bkd-");
  for (unsigned i = 1; i <= 3; i++) {
    wait_ready (fixture);
    while (bk_qmp_client_generation (fixture->client) < i) /* it is not seen at once that the old one has gone */
      ck_assert (bk_qmp_watch_wait (watch, 10000, NULL));
    wait_ready (fixture);
    ck_assert_int_eq (bk_qmp_client_peer_pid (fixture->client), getpid ());
    if (i < 3)
      call (fixture, "a", "1");
  }
}

START_TEST (comes_back_after_a_restart)
{
  play (serve_twice, work_over_restart);
}
END_TEST

/* --- answers --- */

static void
answer_oddly (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  json_object *c = bk_qmp_peer_expect (peer, "c"); /* out of band: overtakes */
  json_object *a = bk_qmp_peer_expect (peer, "a");
  json_object *b = bk_qmp_peer_expect (peer, "b");
  ck_assert (json_object_object_get_ex (c, "exec-oob", NULL));
  bk_qmp_peer_send (peer, "{\"event\": \"JOB_STATUS_CHANGE\", \"data\": {\"id\": \"bkd-1-j0\"}}\r\n{\"event\": \"STOP\"}\r\n");
  bk_qmp_peer_send (peer, "{\"return\": 7, \"id\": 4711}\r\n{\"return\": 7, \"id\": null}\r\n{\"unknown\": 1}\r\n");
  bk_qmp_peer_answer (peer, b, "2");
  bk_qmp_peer_answer (peer, c, "3");
  bk_qmp_peer_answer (peer, a, "1");
  json_object_put (a);
  json_object_put (b);
  json_object_put (c);
  bk_qmp_peer_wait_close (peer);
}

static void
work_on_odd_answers (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkQmpWatch) ours = bk_qmp_watch_new (fixture->client, "bkd-1-");
  g_autoptr (BkQmpWatch) other = bk_qmp_watch_new (fixture->client, "bkd-11-");
  wait_ready (fixture);
  bk_qmp_watch_wait (ours, 0, NULL); /* the connection itself may have been news */
  bk_qmp_watch_wait (other, 0, NULL);
  BkQmpCall calls[] = { { .name = "a", .fd = -1 }, { .name = "b", .fd = -1 }, { .name = "c", .fd = -1, .oob = TRUE } };
  gboolean ok = bk_qmp_client_call_all (fixture->client, calls, 3, 0, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  for (int i = 0; i < 3; i++) {
    ck_assert (calls[i].answered);
    ck_assert_int_eq (json_object_get_int (calls[i].result), i + 1);
    bk_qmp_call_clear (&calls[i]);
  }
  ck_assert (bk_qmp_watch_wait (ours, 0, NULL));
  ck_assert (!bk_qmp_watch_wait (ours, 0, NULL));
  ck_assert (!bk_qmp_watch_wait (other, 0, NULL));
}

START_TEST (finds_the_answers)
{
  Fixture fixture;
  set_up (&fixture, answer_oddly);
  bk_worker_run (work_on_odd_answers, &fixture);
  ck_assert_str_eq (fixture.log->str, "connecting ready JOB_STATUS_CHANGE{ \"id\": \"bkd-1-j0\" } STOP ");
  tear_down (&fixture);
}
END_TEST

static void
fail_the_second (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  for (int i = 0; i < 12; i++) {
    json_object *command = bk_qmp_peer_receive (peer);
    json_object *id = NULL;
    json_object_object_get_ex (command, "id", &id);
    g_autofree char *error = g_strdup_printf ("{\"error\": {\"class\": \"GenericError\", \"desc\": \"it\\n broke\"}, \"id\": %s}",
                                              json_object_to_json_string (id));
    if (i == 1)
      bk_qmp_peer_send (peer, error);
    else
      bk_qmp_peer_answer (peer, command, "{}");
    if (i == 1)
      bk_qmp_peer_send (peer, "\r\n");
    json_object_put (command);
  }
  bk_qmp_peer_wait_close (peer);
}

static void
work_on_batch (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (GError) error = NULL;
  BkQmpCall calls[12] = { 0 };
  for (int i = 0; i < 12; i++)
    calls[i] = (BkQmpCall){ .name = "x", .fd = -1 };
  wait_ready (fixture);
  gboolean ok = bk_qmp_client_call_all (fixture->client, calls, 12, 0, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  for (int i = 0; i < 12; i++) {
    ck_assert (calls[i].answered);
    ck_assert ((calls[i].error != NULL) == (i == 1));
    ck_assert ((calls[i].result == NULL) == (i == 1));
    if (i == 1)
      ck_assert_str_eq (calls[i].error->message, "QEMU refused 'x': it  broke");
    bk_qmp_call_clear (&calls[i]);
  }
}

START_TEST (batch_goes_on_after_an_error)
{
  play (fail_the_second, work_on_batch);
}
END_TEST

#define LONG_REPLY (2u << 20)

static void
answer_at_length (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  g_autofree char *filler = g_strnfill (LONG_REPLY, 'x');
  g_autofree char *value = g_strdup_printf ("\"%s\"", filler);
  answer_next (peer, "a", value);
  bk_qmp_peer_read_blocks (peer);
  g_usleep (100000); /* so that the socket's buffer fills up */
  g_autoptr (json_object) command = bk_qmp_peer_expect (peer, "b");
  json_object *arguments = NULL;
  ck_assert (json_object_object_get_ex (command, "arguments", &arguments));
  ck_assert_int_eq (json_object_get_string_len (arguments), 2 * LONG_REPLY);
  bk_qmp_peer_answer (peer, command, "true");
  bk_qmp_peer_wait_close (peer);
}

static void
work_at_length (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) result = NULL;
  wait_ready (fixture);
  gboolean ok = bk_qmp_client_call (fixture->client, "a", NULL, &result, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert_int_eq (json_object_get_string_len (result), LONG_REPLY);
  g_autofree char *filler = g_strnfill (2 * LONG_REPLY, 'y');
  ok = bk_qmp_client_call (fixture->client, "b", json_object_new_string (filler), NULL, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

START_TEST (moves_long_messages)
{
  play (answer_at_length, work_at_length);
}
END_TEST

static void
misread (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  g_autoptr (json_object) oob = bk_qmp_peer_expect (peer, "o");
  json_object_put (bk_qmp_peer_expect (peer, "a"));
  g_autoptr (json_object) b = bk_qmp_peer_expect (peer, "b");
  bk_qmp_peer_send (peer, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\r\n");
  bk_qmp_peer_answer (peer, b, "2");
  bk_qmp_peer_answer (peer, oob, "0");
  bk_qmp_peer_wait_close (peer);
}

static void
work_on_misread (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (GError) error = NULL;
  BkQmpCall calls[] = { { .name = "o", .fd = -1, .oob = TRUE }, { .name = "a", .fd = -1 }, { .name = "b", .fd = -1 } };
  wait_ready (fixture);
  gboolean ok = bk_qmp_client_call_all (fixture->client, calls, 3, 0, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert_ptr_null (calls[0].error);
  ck_assert_ptr_nonnull (calls[1].error);
  ck_assert_msg (strstr (calls[1].error->message, "JSON parse error") != NULL, "%s", calls[1].error->message);
  ck_assert_ptr_null (calls[2].error);
  for (int i = 0; i < 3; i++)
    bk_qmp_call_clear (&calls[i]);
}

START_TEST (error_without_id_is_for_the_oldest)
{
  play (misread, work_on_misread);
}
END_TEST

/* --- answers that do not come --- */

static void
die_in_the_middle (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  answer_next (peer, "a", "1");
  json_object_put (bk_qmp_peer_expect (peer, "transaction"));
  bk_qmp_peer_send (peer, "{\"event\": \"STOP\"}\r\n{\"return\": {");
  bk_qmp_peer_close (peer);
  bk_qmp_peer_greet (peer);
  json_object_put (bk_qmp_peer_expect (peer, "transaction"));
  bk_qmp_peer_send (peer, "rubbish\r\n");
  bk_qmp_peer_wait_close (peer);
}

static void
work_on_death (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (GError) error = NULL;
  BkQmpCall calls[] = { { .name = "a", .fd = -1 }, { .name = "transaction", .fd = -1 }, { .name = "never", .fd = -1 } };
  wait_ready (fixture);
  ck_assert (!bk_qmp_client_call_all (fixture->client, calls, 3, 0, NULL, &error));
  ck_assert_msg (strstr (error->message, "'transaction'") && strstr (error->message, "closed"), "%s", error->message);
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert (calls[0].answered && !calls[1].answered && !calls[2].answered);
  for (int i = 0; i < 3; i++)
    bk_qmp_call_clear (&calls[i]);
  wait_ready (fixture);
  call_fails (fixture, "transaction", BK_ERROR_UNREACHABLE, "not a QMP monitor");
}

START_TEST (death_ends_the_calls)
{
  play (die_in_the_middle, work_on_death);
}
END_TEST

static void
answer_late (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  json_object *slow = bk_qmp_peer_expect (peer, "slow");
  json_object *next = bk_qmp_peer_expect (peer, "next"); /* comes when slow was given up */
  bk_qmp_peer_answer (peer, slow, "\"late\"");
  bk_qmp_peer_answer (peer, next, "\"right\"");
  json_object_put (slow);
  json_object_put (next);
  bk_qmp_peer_wait_close (peer);
}

static void
work_on_late_answer (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (GError) error = NULL;
  BkQmpCall slow = { .name = "slow", .fd = -1 };
  wait_ready (fixture);
  ck_assert (!bk_qmp_client_call_all (fixture->client, &slow, 1, 200, NULL, &error));
  ck_assert_str_eq (error->message, "QEMU did not answer 'slow' within 0.2 s");
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  bk_qmp_call_clear (&slow);
  call (fixture, "next", "\"right\"");
}

START_TEST (late_answer_is_dropped)
{
  play (answer_late, work_on_late_answer);
}
END_TEST

static void
cancel_then_answer (BkQmpPeer *peer, gpointer data)
{
  Fixture *fixture = data;
  bk_qmp_peer_greet (peer);
  g_autoptr (json_object) command = bk_qmp_peer_expect (peer, "slow");
  g_cancellable_cancel (fixture->cancellable);
  bk_qmp_peer_answer (peer, command, "1");
  answer_next (peer, "next", "2");
  ck_assert (!bk_qmp_peer_has_input (peer, 100)); /* a call that was cancelled before is not sent */
  bk_qmp_peer_wait_close (peer);
}

static void
work_until_cancelled (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (fixture->client, "bkd-");
  g_autoptr (GError) error = NULL;
  json_object *result = NULL;
  wait_ready (fixture);
  bk_qmp_watch_wait (watch, 0, NULL);
  gboolean ok = bk_qmp_client_call (fixture->client, "slow", NULL, &result, fixture->cancellable, &error);
  if (ok) /* the answer was faster, which may be */
    json_object_put (result);
  else
    bk_assert_error (error, BK_ERROR_CANCELLED);
  call (fixture, "next", "2");
  call_fails (fixture, "not sent", BK_ERROR_CANCELLED, "cancelled");
  ck_assert (!bk_qmp_watch_wait (watch, 20000, fixture->cancellable));
}

START_TEST (cancel_ends_the_call)
{
  play (cancel_then_answer, work_until_cancelled);
}
END_TEST

static void
wake_soon (BkQmpPeer *peer, gpointer data)
{
  bk_qmp_peer_greet (peer);
  while (g_atomic_pointer_get ((gpointer *)data) == NULL)
    g_usleep (1000);
  bk_qmp_watch_wake (*(BkQmpWatch **)data);
  bk_qmp_peer_wait_close (peer);
}

typedef struct {
  BkQmpWatch *watch; /* first: wake_soon() reads it */
  BkQmpClient *client;
} Waking;

static void
work_until_woken (gpointer data)
{
  Waking *waking = data;
  g_autoptr (GError) error = NULL;
  ck_assert (bk_qmp_client_wait_ready (waking->client, 5000, NULL, &error));
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (waking->client, "bkd-");
  gint64 start = g_get_monotonic_time ();
  g_atomic_pointer_set (&waking->watch, watch);
  ck_assert (!bk_qmp_watch_wait (watch, 20000, NULL));
  ck_assert_int_lt (g_get_monotonic_time () - start, 10 * G_TIME_SPAN_SECOND);
  start = g_get_monotonic_time ();
  ck_assert (!bk_qmp_watch_wait (watch, 100, NULL));
  ck_assert_int_ge (g_get_monotonic_time () - start, 100000);
}

START_TEST (watch_can_be_woken)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *path = g_build_filename (folder, "qmp", NULL);
  Waking waking = { .client = bk_qmp_client_new (path) };
  BkQmpPeer *peer = bk_qmp_peer_start (path, wake_soon, &waking);
  bk_qmp_client_start (waking.client);
  bk_worker_run (work_until_woken, &waking);
  bk_qmp_client_stop (waking.client);
  bk_qmp_client_unref (waking.client);
  bk_qmp_peer_free (peer);
}
END_TEST

/* --- descriptors --- */

static void
expect_file (BkQmpPeer *peer, const char *name, ino_t inode)
{
  struct stat st = { 0 };
  int fd = bk_qmp_peer_take_fd (peer);
  ck_assert_msg (fd >= 0, "no descriptor came with %s", name);
  ck_assert_int_eq (fstat (fd, &st), 0);
  ck_assert_uint_eq (st.st_ino, inode);
  close (fd);
}

static ino_t
inode_of (const char *path)
{
  struct stat st = { 0 };
  ck_assert_int_eq (stat (path, &st), 0);
  return st.st_ino;
}

static void
take_descriptors (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  json_object *before = bk_qmp_peer_expect (peer, "before");
  ck_assert_int_eq (bk_qmp_peer_take_fd (peer), -1);
  json_object *first = bk_qmp_peer_expect (peer, "first");
  expect_file (peer, "first", inode_of ("/etc/passwd"));
  ck_assert_msg (!bk_qmp_peer_has_input (peer, 200), "a second descriptor came before the first was used");
  bk_qmp_peer_answer (peer, before, "{}");
  bk_qmp_peer_answer (peer, first, "{}");
  json_object *second = bk_qmp_peer_expect (peer, "second");
  expect_file (peer, "second", inode_of ("/etc/group"));
  json_object *after = bk_qmp_peer_expect (peer, "after");
  ck_assert_int_eq (bk_qmp_peer_take_fd (peer), -1);
  bk_qmp_peer_answer (peer, second, "{}");
  bk_qmp_peer_answer (peer, after, "{}");
  json_object_put (before);
  json_object_put (first);
  json_object_put (second);
  json_object_put (after);
  bk_qmp_peer_wait_close (peer);
}

static void
work_on_descriptors (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (GError) error = NULL;
  int passwd = open ("/etc/passwd", O_RDONLY | O_CLOEXEC), group = open ("/etc/group", O_RDONLY | O_CLOEXEC);
  BkQmpCall calls[] = { { .name = "before", .fd = -1 }, { .name = "first", .fd = passwd },
                        { .name = "second", .fd = group }, { .name = "after", .fd = -1 } };
  wait_ready (fixture);
  gboolean ok = bk_qmp_client_call_all (fixture->client, calls, 4, 0, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  for (int i = 0; i < 4; i++)
    bk_qmp_call_clear (&calls[i]);
  close (passwd);
  close (group);
}

START_TEST (descriptor_goes_with_its_command)
{
  play (take_descriptors, work_on_descriptors);
}
END_TEST

static void
hang_on_descriptor (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  json_object *first = bk_qmp_peer_expect (peer, "first");
  answer_next (peer, "yank", "{}"); /* overtakes the second, which is held back */
  ck_assert (!bk_qmp_peer_has_input (peer, 100));
  answer_next (peer, "after", "{}"); /* the second was given up, and is never sent */
  bk_qmp_peer_answer (peer, first, "{}");
  json_object_put (first);
  bk_qmp_peer_wait_close (peer);
}

static void
work_on_held_back (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (GError) error = NULL;
  int fd = open ("/etc/passwd", O_RDONLY | O_CLOEXEC);
  BkQmpCall calls[] = { { .name = "first", .fd = fd }, { .name = "second", .fd = fd } };
  BkQmpCall after[] = { { .name = "yank", .fd = -1, .oob = TRUE } };
  wait_ready (fixture);
  ck_assert (!bk_qmp_client_call_all (fixture->client, calls, 1, 100, NULL, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert (!bk_qmp_client_call_all (fixture->client, calls + 1, 1, 100, NULL, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert (bk_qmp_client_call_all (fixture->client, after, 1, 0, NULL, &error));
  bk_qmp_call_clear (after);
  g_usleep (300000);
  call (fixture, "after", "{}");
  close (fd);
}

START_TEST (held_back_command_can_be_given_up)
{
  play (hang_on_descriptor, work_on_held_back);
}
END_TEST

/* --- life --- */

static void
greet_and_event (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  bk_qmp_peer_send (peer, "{\"event\": \"STOP\"}\r\n{\"event\": \"RESUME\"}\r\n");
  bk_qmp_peer_wait_close (peer);
}

START_TEST (may_be_stopped_by_an_event)
{
  Fixture fixture;
  set_up (&fixture, greet_and_event);
  fixture.stop_on_event = true;
  while (!strstr (fixture.log->str, "STOP"))
    g_main_context_iteration (NULL, TRUE);
  ck_assert_str_eq (fixture.log->str, "connecting ready STOP down ");
  ck_assert_int_eq (bk_qmp_client_state (fixture.client), BK_QMP_DOWN);
  tear_down (&fixture);
}
END_TEST

static void
greet_only (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  bk_qmp_peer_wait_close (peer);
}

START_TEST (has_no_timer_while_idle)
{
  Fixture fixture;
  gint priority = 0, timeout = 0;
  GPollFD fds[8];
  set_up (&fixture, greet_only);
  while (bk_qmp_client_state (fixture.client) != BK_QMP_READY)
    g_main_context_iteration (NULL, TRUE);
  while (g_main_context_iteration (NULL, FALSE))
    continue;
  GMainContext *context = g_main_context_default ();
  ck_assert (g_main_context_acquire (context));
  ck_assert (!g_main_context_prepare (context, &priority));
  g_main_context_query (context, G_MAXINT, &timeout, fds, G_N_ELEMENTS (fds));
  g_main_context_release (context);
  ck_assert_int_eq (timeout, -1);
  tear_down (&fixture);
}
END_TEST

static void
hang (BkQmpPeer *peer, gpointer data)
{
  bk_qmp_peer_greet (peer);
  json_object_put (bk_qmp_peer_expect (peer, "hang"));
  g_atomic_int_set (&((Fixture *)data)->flag, 1);
  g_main_context_wakeup (NULL);
  bk_qmp_peer_wait_close (peer);
}

/* Holds the last reference. */
static void
work_until_stopped (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (BkQmpClient) client = bk_qmp_client_ref (fixture->client);
  g_autoptr (GError) error = NULL;
  wait_ready (fixture);
  ck_assert (!bk_qmp_client_call (client, "hang", NULL, NULL, NULL, &error));
  ck_assert_msg (strstr (error->message, "closed by backupd") != NULL, "%s", error->message);
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  gint64 start = g_get_monotonic_time ();
  ck_assert (!bk_qmp_client_wait_ready (client, 20000, NULL, &error));
  ck_assert_int_lt (g_get_monotonic_time () - start, 10 * G_TIME_SPAN_SECOND);
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  while (g_atomic_int_get (&fixture->flag) < 2)
    g_usleep (1000);
}

START_TEST (stop_ends_the_calls)
{
  Fixture fixture;
  set_up (&fixture, hang);
  BkWorker *worker = bk_worker_start (work_until_stopped, &fixture);
  while (!g_atomic_int_get (&fixture.flag))
    g_main_context_iteration (NULL, TRUE);
  bk_qmp_client_stop (fixture.client);
  bk_qmp_client_unref (g_steal_pointer (&fixture.client));
  g_atomic_int_set (&fixture.flag, 2);
  bk_worker_wait (worker);
  fixture.client = bk_qmp_client_new (fixture.path); /* for tear_down */
  tear_down (&fixture);
}
END_TEST

#define WORKERS 8
#define ROUNDS 200

static void
echo (BkQmpPeer *peer, gpointer data G_GNUC_UNUSED)
{
  bk_qmp_peer_greet (peer);
  bk_qmp_peer_read_blocks (peer);
  for (int i = 0; i < WORKERS * ROUNDS; i++) {
    g_autoptr (json_object) command = bk_qmp_peer_receive (peer);
    bk_qmp_peer_answer (peer, command, json_object_to_json_string (command));
  }
  bk_qmp_peer_wait_close (peer);
}

static void
work_hard (gpointer data)
{
  Fixture *fixture = data;
  g_autofree char *name = g_strdup_printf ("%p", (void *)g_thread_self ());
  wait_ready (fixture);
  for (int i = 0; i < ROUNDS; i++) {
    g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (fixture->client, name);
    g_autoptr (GError) error = NULL;
    g_autoptr (json_object) result = NULL;
    json_object *echoed = NULL;
    gboolean ok = bk_qmp_client_call (fixture->client, name, json_object_new_int (i), &result, NULL, &error);
    bk_assert_no_error (error);
    ck_assert (ok);
    json_object_object_get_ex (result, "execute", &echoed);
    ck_assert_str_eq (json_object_get_string (echoed), name);
    json_object_object_get_ex (result, "arguments", &echoed);
    ck_assert_int_eq (json_object_get_int (echoed), i);
  }
}

START_TEST (serves_many_workers)
{
  Fixture fixture;
  BkWorker *workers[WORKERS];
  set_up (&fixture, echo);
  for (int i = 0; i < WORKERS; i++)
    workers[i] = bk_worker_start (work_hard, &fixture);
  for (int i = 0; i < WORKERS; i++)
    bk_worker_wait (workers[i]);
  tear_down (&fixture);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    no_greeting_is_busy, other_servers_are_refused, missing_socket_is_down, long_path_is_down, refused_negotiation_is_down,
    comes_back_after_a_restart, finds_the_answers, batch_goes_on_after_an_error, moves_long_messages,
    error_without_id_is_for_the_oldest, death_ends_the_calls, late_answer_is_dropped, cancel_ends_the_call,
    watch_can_be_woken, descriptor_goes_with_its_command, held_back_command_can_be_given_up, may_be_stopped_by_an_event,
    has_no_timer_while_idle, stop_ends_the_calls, serves_many_workers, NULL
  };
  return bk_suite_run ("qmp-client", tests);
}
