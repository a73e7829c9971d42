/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every command that the qmp-* files can send, with every argument, against the recorded schema of QEMU 7.2.
 */
#include "qmp-commands.h"
#include "qmp-export.h"
#include "qmp-features.h"
#include "qmp-job.h"
#include "qmp-peer.h"
#include "qmp-schema.h"
#include "qmp-transaction.h"
#include "suite.h"
#include "worker.h"

#include <string.h>

/* What the peer has to answer for the functions to go on; all others get {}. */
static const char *const answers[][2] = {
  { "query-named-block-nodes", "[]" },
  { "query-status", "{\"status\": \"running\"}" },
  { "query-jobs", "[]" },
  { "query-block-jobs", "[]" },
  { "query-block-exports", "[]" },
  { "query-yank", "[{\"type\": \"chardev\", \"id\": \"bkd-c\"}, {\"type\": \"block-node\", \"node-name\": \"bkd-t\"},"
                  " {\"type\": \"block-node\", \"node-name\": \"other\"}]" },
  { "query-qmp-schema", "[]" },
  { "add-fd", "{\"fdset-id\": 3, \"fd\": 9}" },
};

typedef struct {
  GPtrArray *commands; /* json_object */
  BkQmpClient *client;
} Fixture;

static void
free_command (gpointer command)
{
  json_object_put (command);
}

static const char *
answer_to (const char *name)
{
  for (size_t i = 0; i < G_N_ELEMENTS (answers); i++)
    if (g_str_equal (answers[i][0], name))
      return answers[i][1];
  return "{}";
}

/* Records all commands, until "quit". */
static void
record (BkQmpPeer *peer, gpointer data)
{
  Fixture *fixture = data;
  bk_qmp_peer_greet (peer);
  for (;;) {
    json_object *command = bk_qmp_peer_receive (peer);
    const char *name = bk_qmp_command_name (command);
    bool last = g_str_equal (name, "quit");
    bk_qmp_peer_answer (peer, command, answer_to (name));
    g_ptr_array_add (fixture->commands, command);
    if (last)
      break;
  }
  bk_qmp_peer_wait_close (peer);
}

static void
ok (gboolean result, GError **error)
{
  bk_assert_no_error (*error);
  ck_assert (result);
}

static void
send_queries (BkQmpClient *client)
{
  static const char *const plain[] = { BK_QMP_QUERY_BLOCK, BK_QMP_QUERY_BLOCKSTATS, BK_QMP_QUERY_BLOCK_JOBS, BK_QMP_QUERY_JOBS,
                                       BK_QMP_QUERY_EXPORTS, BK_QMP_QUERY_IOTHREADS, BK_QMP_QUERY_SCHEMA };
  GError *e = NULL;
  BkQmpFeatures features;
  g_autofree char *status = NULL, *value = NULL;
  g_autoptr (GPtrArray) jobs = NULL;
  json_object *result = NULL;
  for (size_t i = 0; i < G_N_ELEMENTS (plain); i++) {
    ok (bk_qmp_query (client, plain[i], &result, NULL, &e), &e);
    g_clear_pointer (&result, json_object_put);
  }
  ok (bk_qmp_query_nodes (client, &result, NULL, &e), &e);
  g_clear_pointer (&result, json_object_put);
  ok (bk_qmp_query_status (client, &status, NULL, &e), &e);
  ck_assert_str_eq (status, "running");
  ok (bk_qmp_qom_get_string (client, "/machine/peripheral/vda", "iothread", &value, NULL, &e), &e);
  ck_assert_ptr_null (value);
  ok (bk_qmp_query_jobs_of (client, "bkd-", &jobs, NULL, &e), &e);
  ok (bk_qmp_features (client, &features, NULL, &e), &e);
  ok (bk_qmp_features (client, &features, NULL, &e), &e);
}

static void
send_vm (BkQmpClient *client)
{
  GError *e = NULL;
  int64_t fdset = 0;
  BkQmpCall calls[] = { bk_qmp_call_stop (), bk_qmp_call_set_drive ("/machine/peripheral/vda/virtio-backend", "n"),
                        bk_qmp_call_set_drive ("nvme0", "n"), bk_qmp_call_cont () };
  ok (bk_qmp_client_call_all (client, calls, G_N_ELEMENTS (calls), 0, NULL, &e), &e);
  for (size_t i = 0; i < G_N_ELEMENTS (calls); i++)
    bk_qmp_call_clear (&calls[i]);
  ok (bk_qmp_cont (client, NULL, &e), &e);
  ok (bk_qmp_set_drive (client, "scsi0-0-0-0", "n", NULL, &e), &e);
  ok (bk_qmp_add_fd (client, 0, "scratch", &fdset, NULL, &e), &e);
  ck_assert_int_eq (fdset, 3);
  ok (bk_qmp_remove_fd (client, fdset, NULL, &e), &e);
}

static void
send_nodes (BkQmpClient *client)
{
  const unsigned all = BK_QMP_CACHE_NO_FLUSH | BK_QMP_CACHE_DIRECT | BK_QMP_READ_ONLY | BK_QMP_DETECT_ZEROES;
  GError *e = NULL;
  ok (bk_qmp_add_file (client, "file", "n", "/x", all, NULL, &e), &e);
  ok (bk_qmp_add_file (client, "host_device", "n", "/dev/x", 0, NULL, &e), &e);
  ok (bk_qmp_add_format (client, "qcow2", "n", "f", all, NULL, &e), &e);
  ok (bk_qmp_add_format (client, "raw", "n", "f", 0, NULL, &e), &e);
  ok (bk_qmp_add_raw (client, "n", "f", 1 << 20, 0, NULL, &e), &e);
  ok (bk_qmp_add_nbd (client, "n", 2, "disk", all, NULL, &e), &e);
  ok (bk_qmp_add_filter (client, "c", "n", "s", NULL, &e), &e);
  ok (bk_qmp_add_snapshot (client, "a", "c", NULL, &e), &e);
  ok (bk_qmp_reopen_read_only (client, "qcow2", "n", "f", BK_QMP_CACHE_NO_FLUSH, NULL, &e), &e);
  ok (bk_qmp_reopen_read_only (client, "raw", "n", "f", 0, NULL, &e), &e);
  ok (bk_qmp_del_node (client, "n", NULL, &e), &e);
}

static void
send_transactions (BkQmpClient *client)
{
  static const char *const sources[] = { "cp1", "cp2", NULL };
  const BkQmpBackup most = { "j", "n", "t", "bitmap", "inc", "f", 1000, true, "stop", "enospc", 8, 65536 };
  const BkQmpBackup least = { .job = "j", .device = "n", .target = "t", .sync = "full" };
  GError *e = NULL;
  json_object *actions = json_object_new_array ();
  bk_qmp_action_backup (actions, &most);
  bk_qmp_action_backup (actions, &least);
  bk_qmp_action_bitmap_add (actions, "n", "b", true, false);
  bk_qmp_action_bitmap_add (actions, "n", "b", false, true);
  bk_qmp_action_bitmap_remove (actions, "n", "b");
  bk_qmp_action_bitmap_enable (actions, "n", "b");
  bk_qmp_action_bitmap_disable (actions, "n", "b");
  bk_qmp_action_bitmap_merge (actions, "n", "b", "m", sources);
  ok (bk_qmp_transaction (client, actions, NULL, &e), &e);
  ok (bk_qmp_transaction (client, json_object_new_array (), NULL, &e), &e);
  ok (bk_qmp_bitmap_remove (client, "n", "b", NULL, &e), &e);
}

static void
send_jobs (BkQmpClient *client)
{
  GError *e = NULL;
  ok (bk_qmp_job_cancel (client, "j", NULL, &e), &e);
  ok (bk_qmp_job_dismiss (client, "j", NULL, &e), &e);
  ok (bk_qmp_job_finalize (client, "j", NULL, &e), &e);
  ok (bk_qmp_job_pause (client, "j", NULL, &e), &e);
  ok (bk_qmp_job_resume (client, "j", NULL, &e), &e);
  ok (bk_qmp_job_set_speed (client, "j", 1, NULL, &e), &e);
  ok (bk_qmp_yank_nodes (client, "bkd-", &e), &e);
}

static void
send_exports (BkQmpClient *client)
{
  GError *e = NULL;
  g_autoptr (GPtrArray) exports = NULL;
  ok (bk_qmp_query_exports (client, &exports, NULL, &e), &e);
  ok (bk_qmp_nbd_server_start (client, 2, "s", NULL, &e), &e);
  ok (bk_qmp_add_nbd_export (client, "i.1", "n", "disk", NULL, NULL, NULL, &e), &e);
  ok (bk_qmp_add_nbd_export (client, "i.1", "n", "disk", "m", "b", NULL, &e), &e);
  ok (bk_qmp_add_fuse_export (client, "i.1", "n", "/f", "io0", NULL, &e), &e);
  ok (bk_qmp_del_export (client, "i.1", NULL, &e), &e);
  ok (bk_qmp_nbd_server_stop_within (client, 1000, &e), &e);
  ok (bk_qmp_create_qcow2 (client, "j", "f", 1 << 20, NULL, &e), &e);
  ok (bk_qmp_add_overlay (client, "s", "sf", "n", NULL, &e), &e);
  ok (bk_qmp_add_overlay (client, "s", "sf", NULL, NULL, &e), &e);
  ok (bk_qmp_add_empty (client, "m", 1 << 20, NULL, &e), &e);
}

static void
send_all (gpointer data)
{
  BkQmpClient *client = ((Fixture *)data)->client;
  GError *e = NULL;
  ok (bk_qmp_client_wait_ready (client, 5000, NULL, &e), &e);
  send_queries (client);
  send_vm (client);
  send_nodes (client);
  send_transactions (client);
  send_jobs (client);
  send_exports (client);
  ok (bk_qmp_client_call (client, "quit", NULL, NULL, NULL, &e), &e);
}

/* (transfer full) all commands, in order. */
static GPtrArray *
record_all (void)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *path = g_build_filename (folder, "qmp", NULL);
  Fixture fixture = { .commands = g_ptr_array_new_with_free_func (free_command) };
  BkQmpPeer *peer = bk_qmp_peer_start (path, record, &fixture);
  fixture.client = bk_qmp_client_new (path);
  bk_qmp_client_start (fixture.client);
  bk_worker_run (send_all, &fixture);
  bk_qmp_client_stop (fixture.client);
  bk_qmp_client_unref (fixture.client);
  bk_qmp_peer_free (peer);
  return fixture.commands;
}

START_TEST (sends_what_the_schema_knows)
{
  g_autoptr (json_object) schema = bk_qmp_schema_load (BK_TEST_DATA);
  g_autoptr (GPtrArray) commands = record_all ();
  ck_assert_uint_eq (commands->len, 57); /* features are asked for once, an empty transaction is not sent, nodes ask for jobs first */
  for (guint i = 0; i < commands->len; i++) {
    g_autofree char *problem = bk_qmp_schema_check (schema, commands->pdata[i]);
    ck_assert_msg (problem == NULL, "%s in %s", problem, json_object_to_json_string (commands->pdata[i]));
  }
}
END_TEST

/* The text of the first command that has @name, whose @nth one it is. */
static const char *
text_of (GPtrArray *commands, const char *name, unsigned nth)
{
  for (guint i = 0; i < commands->len; i++)
    if (g_str_equal (bk_qmp_command_name (commands->pdata[i]), name) && nth-- == 0)
      return json_object_to_json_string_ext (commands->pdata[i], JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
  ck_abort_msg ("%s was not sent", name);
}

static void
holds (GPtrArray *commands, const char *name, unsigned nth, const char *part)
{
  const char *text = text_of (commands, name, nth);
  ck_assert_msg (strstr (text, part) != NULL, "%s is not in %s", part, text);
}

START_TEST (sends_what_was_asked_for)
{
  g_autoptr (GPtrArray) commands = record_all ();
  holds (commands, "qom-set", 0, "\"path\":\"/machine/peripheral/vda/virtio-backend\",\"property\":\"drive\",\"value\":\"n\"");
  holds (commands, "qom-set", 1, "\"path\":\"/machine/peripheral/nvme0\"");
  holds (commands, "blockdev-add", 0, "\"cache\":{\"no-flush\":true,\"direct\":true}");
  holds (commands, "blockdev-add", 2, "\"backing\":null");
  holds (commands, "blockdev-add", 5, "\"server\":{\"type\":\"fd\",\"str\":\"n\"},\"export\":\"disk\",\"open-timeout\":10");
  holds (commands, "getfd", 0, "\"fdname\":\"n\"");
  holds (commands, "blockdev-reopen", 0, "\"read-only\":true,\"cache\":{\"no-flush\":true},\"file\":\"f\",\"backing\":null");
  holds (commands, "transaction", 0, "\"bitmaps\":[{\"node\":\"m\",\"name\":\"cp1\"},{\"node\":\"m\",\"name\":\"cp2\"}]");
  holds (commands, "transaction", 0, "\"bitmap-mode\":\"never\"");
  holds (commands, "transaction", 0, "\"auto-dismiss\":false");
  holds (commands, "yank", 0, "\"instances\":[{\"type\":\"block-node\",\"node-name\":\"bkd-t\"}]");
  holds (commands, "yank", 0, "exec-oob");
  holds (commands, "nbd-server-start", 0, "\"addr\":{\"type\":\"fd\",\"data\":{\"str\":\"s\"}}");
  holds (commands, "block-export-add", 0, "\"writable\":false,\"name\":\"disk\"}");
  holds (commands, "block-export-add", 1, "\"bitmaps\":[{\"node\":\"m\",\"name\":\"b\"}]");
  holds (commands, "block-export-add", 2, "\"mountpoint\":\"/f\",\"iothread\":\"io0\",\"fixed-iothread\":true}");
  holds (commands, "block-export-del", 0, "\"mode\":\"hard\"");
  holds (commands, "blockdev-add", 8, "\"cache\":{\"no-flush\":true},\"file\":\"sf\",\"backing\":\"n\"");
  holds (commands, "blockdev-add", 9, "\"backing\":null");
}
END_TEST

START_TEST (checker_sees_mistakes)
{
  static const char *const bad[][2] = {
    { "{\"execute\": \"nonsense\"}", "no such command" },
    { "{\"execute\": \"q_obj_stop\"}", "no such command" },
    { "{\"exec-oob\": \"stop\"}", "out of band" },
    { "{\"execute\": \"drive-backup\"}", "deprecated" },
    { "{\"execute\": \"stop\", \"arguments\": {\"x\": 1}}", "stop/x: no such member" },
    { "{\"execute\": \"job-cancel\"}", "job-cancel/id: is missing" },
    { "{\"execute\": \"job-cancel\", \"arguments\": {\"id\": 1}}", "job-cancel/id: must be a string" },
    { "{\"execute\": \"job-cancel\", \"arguments\": {\"job\": \"x\"}}", "job-cancel/job: no such member" },
    { "{\"execute\": \"blockdev-add\", \"arguments\": {\"driver\": \"filee\"}}", "is no such word" },
    { "{\"execute\": \"blockdev-add\", \"arguments\": {\"driver\": \"file\"}}", "filename: is missing" },
    { "{\"execute\": \"blockdev-add\", \"arguments\": {\"driver\": \"file\", \"filename\": \"x\", \"file\": \"y\"}}", "no such member" },
    { "{\"execute\": \"blockdev-add\", \"arguments\": {\"driver\": \"raw\", \"file\": 3}}", "none of the alternatives" },
    { "{\"execute\": \"transaction\", \"arguments\": {\"actions\": {}}}", "must be an array" },
    { "{\"execute\": \"transaction\", \"arguments\": {\"actions\": [{\"type\": \"abort\"}]}}", "actions/0/data: is missing" },
    { "{\"execute\": \"transaction\", \"arguments\": {\"actions\": [{\"type\": \"block-dirty-bitmap-add\","
      " \"data\": {\"node\": \"n\", \"name\": \"b\", \"persist\": true}}]}}", "data/persist: no such member" },
  };
  g_autoptr (json_object) schema = bk_qmp_schema_load (BK_TEST_DATA);
  for (size_t i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (json_object) command = json_tokener_parse (bad[i][0]);
    g_autofree char *problem = bk_qmp_schema_check (schema, command);
    ck_assert_msg (problem != NULL, "accepted: %s", bad[i][0]);
    ck_assert_msg (strstr (problem, bad[i][1]) != NULL, "%s", problem);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { sends_what_the_schema_knows, sends_what_was_asked_for, checker_sees_mistakes, NULL };
  return bk_suite_run ("qmp-schema-check", tests);
}
