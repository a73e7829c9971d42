/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The client and the commands against a real qemu-storage-daemon, and where that lacks a command, against a
 * qemu-system-x86_64.
 */
#include "nbd-uri.h"
#include "process.h"
#include "qmp-commands.h"
#include "qmp-features.h"
#include "qmp-job.h"
#include "qmp-transaction.h"
#include "suite.h"
#include "worker.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define MIB (1024 * 1024)

typedef struct {
  char *folder;
  char *socket;
  bool traced; /* its syncs are in the file "strace" */
  BkProcess *process;
  BkProcess *server; /* of NBD, where a test has one */
  BkQmpClient *client;
} Daemon;

/* @emulator: qemu-system-x86_64 without a machine; it knows some commands that the storage daemon lacks. */
static void
daemon_start (Daemon *daemon, bool emulator)
{
  daemon->folder = bk_suite_folder ();
  daemon->socket = g_build_filename (daemon->folder, "qmp", NULL);
  g_autofree char *chardev = g_strdup_printf ("socket,id=q,path=%s,server=on,wait=off", daemon->socket);
  const char *const storage[] = { "qemu-storage-daemon", "--chardev", chardev, "--monitor", "chardev=q", NULL };
  g_autofree char *log = g_build_filename (daemon->folder, "strace", NULL);
  /* -D: the daemon is our child, and the tracer its grandchild, so that it is the daemon that we end. */
  const char *const traced[] = { "strace", "-D", "-f", "-qq", "-o", log, "-e", "trace=fsync,fdatasync,sync_file_range",
                                 "qemu-storage-daemon", "--chardev", chardev, "--monitor", "chardev=q", NULL };
  const char *const system[] = { "qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-chardev",
                                 chardev, "-mon", "chardev=q,mode=control", NULL };
  daemon->process = bk_process_start_listening (emulator ? system : daemon->traced ? traced : storage, daemon->socket);
  daemon->client = bk_qmp_client_new (daemon->socket);
  bk_qmp_client_start (daemon->client);
}

static void
daemon_stop (Daemon *daemon)
{
  bk_qmp_client_stop (daemon->client);
  bk_qmp_client_unref (daemon->client);
  bk_process_free (daemon->process);
  g_free (daemon->folder);
  g_free (daemon->socket);
}

static char *
make_image (const Daemon *daemon, const char *name, const char *format, const char *size)
{
  char *path = g_build_filename (daemon->folder, name, NULL);
  const char *const argv[] = { "qemu-img", "create", "-q", "-f", format, path, size, NULL };
  bk_process_run (argv);
  return path;
}

static void
in_worker (bool emulator, void (*function) (gpointer))
{
  Daemon daemon = { 0 };
  daemon_start (&daemon, emulator);
  bk_worker_run (function, &daemon);
  daemon_stop (&daemon);
}

static void
ready (const Daemon *daemon)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = bk_qmp_client_wait_ready (daemon->client, 10000, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

static void
add_image (const Daemon *daemon, const char *path, const char *file, const char *node)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = bk_qmp_add_file (daemon->client, "file", file, path, 0, NULL, &error)
                && bk_qmp_add_format (daemon->client, "qcow2", node, file, 0, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

static void
connects (gpointer data)
{
  Daemon *daemon = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) nodes = NULL;
  ready (daemon);
  ck_assert_uint_eq (bk_qmp_client_generation (daemon->client), 1);
  ck_assert_int_eq (bk_qmp_client_peer_pid (daemon->client), bk_process_pid (daemon->process));
  g_autofree char *version = bk_qmp_client_version (daemon->client);
  ck_assert_msg (g_ascii_isdigit (version[0]), "%s", version);
  g_autofree char *reason = bk_qmp_client_reason (daemon->client);
  ck_assert_str_eq (reason, "");
  gboolean ok = bk_qmp_query_nodes (daemon->client, &nodes, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert_uint_eq (json_object_array_length (nodes), 0);
}

START_TEST (connects_and_asks)
{
  in_worker (false, connects);
}
END_TEST

static BkQmpJob *
wait_concluded (const Daemon *daemon, BkQmpWatch *watch, const char *id)
{
  for (;;) {
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) jobs = NULL;
    gboolean ok = bk_qmp_query_jobs_of (daemon->client, id, &jobs, NULL, &error);
    bk_assert_no_error (error);
    ck_assert (ok);
    ck_assert_uint_eq (jobs->len, 1);
    BkQmpJob *job = jobs->pdata[0];
    if (g_str_equal (job->status, "concluded")) {
      g_ptr_array_set_free_func (jobs, NULL);
      return job;
    }
    ck_assert_msg (bk_qmp_watch_wait (watch, 10000, NULL), "no event came for a job that is %s", job->status);
  }
}

static void
runs_job (gpointer data)
{
  Daemon *daemon = data;
  g_autoptr (GError) error = NULL;
  g_autofree char *source = make_image (daemon, "source.qcow2", "qcow2", "8M");
  g_autofree char *target = make_image (daemon, "target.qcow2", "qcow2", "8M");
  ready (daemon);
  add_image (daemon, source, "bkd-1-sf", "bkd-1-s");
  add_image (daemon, target, "bkd-1-tf", "bkd-1-t");
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (daemon->client, "bkd-1-");
  json_object *actions = json_object_new_array ();
  BkQmpBackup backup = { .job = "bkd-1-j0", .device = "bkd-1-s", .target = "bkd-1-t", .sync = "full",
                         .filter = "bkd-1-f0", .max_workers = 8, .max_chunk = 65536 };
  bk_qmp_action_bitmap_add (actions, "bkd-1-s", "cp1", true, false);
  bk_qmp_action_backup (actions, &backup);
  gboolean ok = bk_qmp_transaction (daemon->client, actions, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  BkQmpJob *job = wait_concluded (daemon, watch, "bkd-1-j0");
  ck_assert_ptr_null (job->error);
  ck_assert_uint_eq (job->current, 8 * MIB);
  ck_assert_uint_eq (job->total, 8 * MIB);
  bk_qmp_job_free (job);
  ok = bk_qmp_job_dismiss (daemon->client, "bkd-1-j0", NULL, &error)
       && bk_qmp_del_node (daemon->client, "bkd-1-t", NULL, &error)
       && bk_qmp_del_node (daemon->client, "bkd-1-tf", NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert (!bk_qmp_job_dismiss (daemon->client, "bkd-1-j0", NULL, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
}

START_TEST (runs_a_job_and_sees_its_events)
{
  in_worker (false, runs_job);
}
END_TEST

static void
passes_fd (gpointer data)
{
  Daemon *daemon = data;
  g_autoptr (GError) error = NULL;
  g_autofree char *path = make_image (daemon, "passed.qcow2", "qcow2", "8M");
  int64_t fdset = -1;
  ready (daemon);
  int fd = open (path, O_RDWR | O_CLOEXEC);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (unlink (path), 0);
  gboolean ok = bk_qmp_add_fd (daemon->client, fd, "rdwr", &fdset, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  close (fd);
  g_autofree char *name = g_strdup_printf ("/dev/fdset/%" G_GINT64_FORMAT, fdset);
  add_image (daemon, name, "f", "n");
  ok = bk_qmp_remove_fd (daemon->client, fdset, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

START_TEST (opens_a_file_by_descriptor)
{
  in_worker (true, passes_fd);
}
END_TEST

/* --- bitmaps --- */

static json_object *
find_bitmap (json_object *nodes, const char *node, const char *name)
{
  for (size_t i = 0; i < json_object_array_length (nodes); i++) {
    json_object *entry = json_object_array_get_idx (nodes, i), *value = NULL, *bitmaps = NULL;
    json_object_object_get_ex (entry, "node-name", &value);
    if (g_strcmp0 (json_object_get_string (value), node) != 0
        || !json_object_object_get_ex (entry, "dirty-bitmaps", &bitmaps))
      continue;
    for (size_t k = 0; k < json_object_array_length (bitmaps); k++) {
      json_object *bitmap = json_object_array_get_idx (bitmaps, k);
      if (json_object_object_get_ex (bitmap, "name", &value) && g_str_equal (json_object_get_string (value), name))
        return bitmap;
    }
  }
  return NULL;
}

/* Dirty bytes of the bitmap, -1 when there is none; *@recording. */
static int64_t
dirty (const Daemon *daemon, const char *node, const char *name, bool *recording)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) nodes = NULL;
  json_object *value = NULL;
  ck_assert (bk_qmp_query_nodes (daemon->client, &nodes, NULL, &error));
  json_object *bitmap = find_bitmap (nodes, node, name);
  if (bitmap == NULL)
    return -1;
  json_object_object_get_ex (bitmap, "recording", &value);
  *recording = json_object_get_boolean (value);
  json_object_object_get_ex (bitmap, "count", &value);
  return json_object_get_int64 (value);
}

static void
transact (const Daemon *daemon, json_object *actions)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = bk_qmp_transaction (daemon->client, actions, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

/* Copies all of node @from to node @to, and takes the job away. */
static void
copy (const Daemon *daemon, const char *from, const char *to)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (daemon->client, "bkd-copy");
  BkQmpBackup backup = { .job = "bkd-copy", .device = from, .target = to, .sync = "full" };
  json_object *actions = json_object_new_array ();
  bk_qmp_action_backup (actions, &backup);
  transact (daemon, actions);
  BkQmpJob *job = wait_concluded (daemon, watch, "bkd-copy");
  ck_assert_msg (job->error == NULL, "%s", job->error);
  bk_qmp_job_free (job);
  ck_assert (bk_qmp_job_dismiss (daemon->client, "bkd-copy", NULL, &error));
}

/* A node whose bytes are all 0x00, but data: a copy of it writes. */
static void
add_source (const Daemon *daemon, const char *node, uint64_t size)
{
  g_autoptr (GError) error = NULL;
  json_object *options = json_object_new_object ();
  json_object_object_add (options, "driver", json_object_new_string ("null-co"));
  json_object_object_add (options, "node-name", json_object_new_string (node));
  json_object_object_add (options, "size", json_object_new_uint64 (size));
  json_object_object_add (options, "read-zeroes", json_object_new_boolean (FALSE));
  gboolean ok = bk_qmp_client_call (daemon->client, "blockdev-add", options, NULL, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

static void
merges (gpointer data)
{
  static const char *const sources[] = { "cp1", "cp2", NULL };
  Daemon *daemon = data;
  bool recording = false;
  g_autoptr (GError) error = NULL;
  g_autofree char *path = make_image (daemon, "a.qcow2", "qcow2", "8M");
  ready (daemon);
  add_image (daemon, path, "f", "n");
  add_source (daemon, "null", 8 * MIB);
  json_object *actions = json_object_new_array ();
  bk_qmp_action_bitmap_add (actions, "n", "cp1", true, false);
  bk_qmp_action_bitmap_add (actions, "n", "cp2", true, true);
  transact (daemon, actions);
  copy (daemon, "null", "n");
  ck_assert_int_eq (dirty (daemon, "n", "cp1", &recording), 8 * MIB);
  ck_assert (recording);
  ck_assert_int_eq (dirty (daemon, "n", "cp2", &recording), 0);
  ck_assert (!recording);
  actions = json_object_new_array ();
  bk_qmp_action_bitmap_disable (actions, "n", "cp1");
  bk_qmp_action_bitmap_enable (actions, "n", "cp2");
  bk_qmp_action_bitmap_add (actions, "n", "inc", false, true);
  bk_qmp_action_bitmap_merge (actions, "n", "inc", "n", sources);
  transact (daemon, actions);
  ck_assert_int_eq (dirty (daemon, "n", "inc", &recording), 8 * MIB);
  dirty (daemon, "n", "cp1", &recording);
  ck_assert (!recording);
  dirty (daemon, "n", "cp2", &recording);
  ck_assert (recording);
  actions = json_object_new_array ();
  bk_qmp_action_bitmap_remove (actions, "n", "cp1");
  bk_qmp_action_bitmap_remove (actions, "n", "no such bitmap");
  ck_assert (!bk_qmp_transaction (daemon->client, actions, NULL, &error));
  ck_assert_msg (strstr (error->message, "no such bitmap") != NULL, "%s", error->message);
  bk_assert_error (error, BK_ERROR_FAILED);
  ck_assert_int_eq (dirty (daemon, "n", "cp1", &recording), 8 * MIB); /* all or none */
  ck_assert (bk_qmp_bitmap_remove (daemon->client, "n", "inc", NULL, &error));
  ck_assert_int_eq (dirty (daemon, "n", "inc", &recording), -1);
}

START_TEST (merges_bitmaps)
{
  in_worker (false, merges);
}
END_TEST

/* --- job control --- */

static BkQmpJob *
job_now (const Daemon *daemon, const char *id)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) jobs = NULL;
  gboolean ok = bk_qmp_query_jobs_of (daemon->client, id, &jobs, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  g_ptr_array_set_free_func (jobs, NULL);
  return jobs->len > 0 ? jobs->pdata[0] : NULL;
}

static void
controls_job (gpointer data)
{
  Daemon *daemon = data;
  g_autoptr (GError) error = NULL;
  g_autofree char *path = make_image (daemon, "t.qcow2", "qcow2", "8M");
  ready (daemon);
  add_image (daemon, path, "f", "t");
  add_source (daemon, "null", 8 * MIB);
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (daemon->client, "bkd-2-");
  BkQmpBackup backup = { .job = "bkd-2-j", .device = "null", .target = "t", .sync = "full", .speed = 65536 };
  json_object *actions = json_object_new_array ();
  bk_qmp_action_backup (actions, &backup);
  transact (daemon, actions);
  ck_assert (bk_qmp_job_pause (daemon->client, "bkd-2-j", NULL, &error));
  BkQmpJob *job = job_now (daemon, "bkd-2-");
  ck_assert (job->user_paused);
  ck_assert_str_eq (job->io_status, "ok");
  ck_assert_uint_lt (job->current, job->total);
  bk_qmp_job_free (job);
  ck_assert (bk_qmp_job_resume (daemon->client, "bkd-2-j", NULL, &error));
  ck_assert (bk_qmp_job_set_speed (daemon->client, "bkd-2-j", 131072, NULL, &error));
  job = job_now (daemon, "bkd-2-");
  ck_assert (!job->user_paused);
  bk_qmp_job_free (job);
  ck_assert_ptr_null (job_now (daemon, "bkd-3-"));
  ck_assert (bk_qmp_job_cancel (daemon->client, "bkd-2-j", NULL, &error));
  job = wait_concluded (daemon, watch, "bkd-2-j");
  ck_assert_str_eq (job->error, "Operation canceled");
  bk_qmp_job_free (job);
  ck_assert (bk_qmp_job_dismiss (daemon->client, "bkd-2-j", NULL, &error));
}

START_TEST (controls_a_job)
{
  in_worker (false, controls_job);
}
END_TEST

/* --- hung servers --- */

/* *@connection gets (transfer full) the socket, which cuts the server off when it is shut down. */
static gboolean
add_nbd (const Daemon *daemon, const char *node, unsigned flags, GSocketConnection **connection, GError **error)
{
  g_autofree char *text = g_strdup_printf ("nbd+unix:///?socket=%s/nbd", daemon->folder);
  g_autoptr (BkNbdUri) uri = bk_nbd_uri_parse (text, error);
  *connection = bk_nbd_uri_connect (uri, NULL, error);
  if (*connection == NULL)
    return FALSE;
  int fd = g_socket_get_fd (g_socket_connection_get_socket (*connection));
  return bk_qmp_add_nbd (daemon->client, node, fd, uri->export_name, flags, NULL, error);
}

/* True when the command is answered within half a second. @actions: of a transaction. */
static bool
answers (const Daemon *daemon, const char *name, json_object *actions)
{
  g_autoptr (GError) error = NULL;
  BkQmpCall call = { .name = name, .fd = -1 };
  if (actions) {
    call.arguments = json_object_new_object ();
    json_object_object_add (call.arguments, "actions", actions);
  }
  bool answered = bk_qmp_client_call_all (daemon->client, &call, 1, 500, NULL, &error);
  bk_qmp_call_clear (&call);
  return answered;
}

/* A server that does not answer a write leaves a job, and in a drain the main loop, hanging. */
static void
yanks (gpointer data)
{
  Daemon *daemon = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (GSocketConnection) connection = NULL;
  ready (daemon);
  gboolean ok = add_nbd (daemon, "bkd-1-t0", 0, &connection, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  add_source (daemon, "null", 8 * MIB);
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (daemon->client, "bkd-1-");
  BkQmpBackup backup = { .job = "bkd-1-j0", .device = "null", .target = "bkd-1-t0", .sync = "full" };
  json_object *actions = json_object_new_array ();
  bk_qmp_action_backup (actions, &backup);
  transact (daemon, actions);
  actions = json_object_new_array ();
  bk_qmp_action_bitmap_add (actions, "null", "b", false, false);
  ck_assert (!answers (daemon, "transaction", actions)); /* it drains: the main loop hangs from now on */
  ck_assert (!answers (daemon, "query-jobs", NULL));
  ok = bk_qmp_yank_nodes (daemon->client, "bkd-2-", &error); /* none of ours: nothing happens */
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert (!answers (daemon, "query-jobs", NULL));
  ok = bk_qmp_yank_nodes (daemon->client, "bkd-1-", &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  BkQmpJob *job = wait_concluded (daemon, watch, "bkd-1-j0");
  ck_assert_ptr_nonnull (job->error);
  bk_qmp_job_free (job);
}

START_TEST (yanks_a_hung_server)
{
  Daemon daemon = { 0 };
  daemon_start (&daemon, true);
  g_autofree char *socket = g_build_filename (daemon.folder, "nbd", NULL);
  const char *const argv[] = { "nbdkit", "-f", "-U", socket, "--filter=delay", "memory", "8M", "delay-write=100",
                               NULL };
  BkProcess *server = bk_process_start_listening (argv, socket);
  bk_worker_run (yanks, &daemon);
  bk_process_free (server);
  daemon_stop (&daemon);
}
END_TEST

/* Yank cannot free QEMU from a stopped server on a unix socket; shutting down our duplicate of the socket can. */
static void
cuts_off (gpointer data)
{
  Daemon *daemon = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (GSocketConnection) connection = NULL;
  ready (daemon);
  gboolean ok = add_nbd (daemon, "bkd-1-t0", 0, &connection, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  add_source (daemon, "null", 8 * MIB);
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (daemon->client, "bkd-1-");
  bk_process_signal (daemon->server, SIGSTOP);
  BkQmpBackup backup = { .job = "bkd-1-j0", .device = "null", .target = "bkd-1-t0", .sync = "full" };
  json_object *actions = json_object_new_array ();
  bk_qmp_action_backup (actions, &backup);
  transact (daemon, actions);
  actions = json_object_new_array ();
  bk_qmp_action_bitmap_add (actions, "null", "b", false, false);
  ck_assert (!answers (daemon, "transaction", actions));
  ck_assert (!answers (daemon, "query-jobs", NULL));
  bk_nbd_cut (connection);
  BkQmpJob *job = wait_concluded (daemon, watch, "bkd-1-j0");
  ck_assert_ptr_nonnull (job->error);
  bk_qmp_job_free (job);
}

START_TEST (cuts_off_a_stopped_server)
{
  Daemon daemon = { 0 };
  daemon_start (&daemon, true);
  g_autofree char *socket = g_build_filename (daemon.folder, "nbd", NULL);
  const char *const argv[] = { "nbdkit", "-f", "-U", socket, "memory", "8M", NULL };
  daemon.server = bk_process_start_listening (argv, socket);
  bk_worker_run (cuts_off, &daemon);
  bk_process_free (daemon.server);
  daemon_stop (&daemon);
}
END_TEST

/* --- closing a target --- */

/* The target lies on an NBD server that can be made to fail all writes. */
static void
start_failing (Daemon *daemon, BkProcess **server, const char *trigger)
{
  g_autofree char *socket = g_build_filename (daemon->folder, "nbd", NULL);
  g_autofree char *path = make_image (daemon, "t.qcow2", "qcow2", "8M");
  g_autofree char *file_option = g_strdup_printf ("error-file=%s", trigger);
  ck_assert_int_eq (truncate (path, 32 * MIB), 0);
  const char *const argv[] = { "nbdkit", "-f", "-U", socket, "--filter=error", "file", path, "error=ENOSPC",
                               "error-pwrite-rate=100%", file_option, NULL };
  *server = bk_process_start_listening (argv, socket);
}

static void
reopens (gpointer data)
{
  Daemon *daemon = data;
  g_autoptr (GError) error = NULL;
  g_autofree char *trigger = g_build_filename (daemon->folder, "trigger", NULL);
  g_autoptr (GSocketConnection) connection = NULL;
  BkProcess *server = NULL;
  start_failing (daemon, &server, trigger);
  ready (daemon);
  gboolean ok = add_nbd (daemon, "tf", BK_QMP_CACHE_NO_FLUSH, &connection, &error)
                && bk_qmp_add_format (daemon->client, "qcow2", "t", "tf", BK_QMP_CACHE_NO_FLUSH, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  add_source (daemon, "null", 8 * MIB);
  copy (daemon, "null", "t"); /* without an error: the tables are still in memory */
  ck_assert (g_file_set_contents (trigger, "", 0, NULL));
  ck_assert (!bk_qmp_reopen_read_only (daemon->client, "qcow2", "t", "tf", BK_QMP_CACHE_NO_FLUSH, NULL, &error));
  ck_assert_msg (strstr (error->message, "No space left on device") != NULL, "%s", error->message);
  bk_assert_error (error, BK_ERROR_FAILED);
  ck_assert_int_eq (unlink (trigger), 0);
  ok = bk_qmp_reopen_read_only (daemon->client, "qcow2", "t", "tf", BK_QMP_CACHE_NO_FLUSH, NULL, &error)
       && bk_qmp_del_node (daemon->client, "t", NULL, &error) && bk_qmp_del_node (daemon->client, "tf", NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  bk_process_free (server);
}

START_TEST (reopening_tells_of_lost_metadata)
{
  in_worker (true, reopens);
}
END_TEST

/* How often @word is in the file at @path. */
static unsigned
count_in_file (const char *path, const char *word)
{
  g_autofree char *text = NULL;
  unsigned count = 0;
  ck_assert (g_file_get_contents (path, &text, NULL, NULL));
  for (const char *at = strstr (text, word); at; at = strstr (at + 1, word))
    count++;
  return count;
}

static void
write_target (const Daemon *daemon, const char *source, const char *target, unsigned flags)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = bk_qmp_add_file (daemon->client, "file", "sf", source, BK_QMP_READ_ONLY, NULL, &error)
                && bk_qmp_add_format (daemon->client, "raw", "s", "sf", BK_QMP_READ_ONLY, NULL, &error)
                && bk_qmp_add_file (daemon->client, "file", "tf", target, flags, NULL, &error)
                && bk_qmp_add_format (daemon->client, "qcow2", "t", "tf", flags, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  copy (daemon, "s", "t");
  ok = bk_qmp_reopen_read_only (daemon->client, "qcow2", "t", "tf", flags, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  /* Already now it is all there for other programs. */
  const char *const compare[] = { "qemu-img", "compare", "-q", "-U", "-f", "raw", "-F", "qcow2", source, target, NULL };
  bk_process_run (compare);
  static const char *const nodes[] = { "t", "tf", "s", "sf" };
  for (size_t i = 0; i < G_N_ELEMENTS (nodes); i++)
    ck_assert (bk_qmp_del_node (daemon->client, nodes[i], NULL, &error));
}

static void
writes_unflushed (gpointer data)
{
  Daemon *daemon = data;
  g_autofree char *log = g_build_filename (daemon->folder, "strace", NULL);
  g_autofree char *source = g_build_filename (daemon->folder, "source", NULL);
  g_autofree char *target = make_image (daemon, "t.qcow2", "qcow2", "8M");
  g_autofree char *other = make_image (daemon, "o.qcow2", "qcow2", "8M");
  g_autofree char *content = g_strnfill (8 * MIB, 'q');
  ck_assert (g_file_set_contents (source, content, 8 * MIB, NULL));
  ready (daemon);
  unsigned before = count_in_file (log, "fdatasync(");
  write_target (daemon, source, target, BK_QMP_CACHE_NO_FLUSH);
  ck_assert_uint_eq (count_in_file (log, "fdatasync("), before);
  write_target (daemon, source, other, 0); /* so that the log is known to be good for something */
  ck_assert_uint_gt (count_in_file (log, "fdatasync("), before);
}

START_TEST (no_flush_is_no_fdatasync)
{
  Daemon daemon = { .traced = true };
  daemon_start (&daemon, false);
  bk_worker_run (writes_unflushed, &daemon);
  daemon_stop (&daemon);
}
END_TEST

/* --- guest devices --- */

static const char *const devices[] = { "virtio-blk-pci,id=vda,drive=n0", "virtio-blk-pci,drive=n1", "scsi-hd,id=scsi0-0-0-0,drive=n2",
                                       "ide-hd,id=sata0,drive=n3", "nvme,id=nvme0,serial=a,drive=n4",
                                       "usb-storage,id=du,drive=n5", "virtio-blk-pci,id=io,iothread=io0,drive=n6" };
static const char *const qdevs[] = { "/machine/peripheral/vda/virtio-backend", "/machine/peripheral-anon/device[3]/virtio-backend",
                                     "scsi0-0-0-0", "sata0", "nvme0", "/machine/peripheral/du/du.0/legacy[0]",
                                     "/machine/peripheral/io/virtio-backend" };

/* A guest that is never run, with a disk of each kind. */
static void
machine_start (Daemon *daemon)
{
  daemon->folder = bk_suite_folder ();
  daemon->socket = g_build_filename (daemon->folder, "qmp", NULL);
  g_autofree char *base = g_strdup_printf ("qemu-system-x86_64 -accel tcg -m 32 -nodefaults -display none -S -object iothread,id=io0"
                                           " -device virtio-scsi-pci -device ich9-ahci -device qemu-xhci"
                                           " -qmp unix:%s,server=on,wait=off", daemon->socket);
  g_autoptr (GString) line = g_string_new (base);
  for (size_t i = 0; i < G_N_ELEMENTS (devices); i++)
    g_string_append_printf (line, " -blockdev null-co,node-name=n%zu,size=1048576,read-zeroes=on -device %s", i, devices[i]);
  g_auto (GStrv) argv = g_strsplit (line->str, " ", -1);
  daemon->process = bk_process_start_listening ((const char *const *)argv, daemon->socket);
  daemon->client = bk_qmp_client_new (daemon->socket);
  bk_qmp_client_start (daemon->client);
}

/* The node that the guest device @qdev is attached to, as query-block has it. (transfer full) */
static char *
node_of (const Daemon *daemon, const char *qdev)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) blocks = NULL;
  ck_assert (bk_qmp_query (daemon->client, BK_QMP_QUERY_BLOCK, &blocks, NULL, &error));
  for (size_t i = 0; i < json_object_array_length (blocks); i++) {
    json_object *block = json_object_array_get_idx (blocks, i), *value = NULL;
    if (!json_object_object_get_ex (block, "qdev", &value) || !g_str_equal (json_object_get_string (value), qdev))
      continue;
    ck_assert (json_object_object_get_ex (block, "inserted", &value));
    ck_assert (json_object_object_get_ex (value, "node-name", &value));
    return g_strdup (json_object_get_string (value));
  }
  ck_abort_msg ("query-block does not list '%s'", qdev);
}

/* Puts a filter between @qdev and its node, and takes it away again. */
static void
insert_filter (const Daemon *daemon, const char *qdev)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *node = node_of (daemon, qdev);
  BkQmpCall calls[] = { bk_qmp_call_stop (), bk_qmp_call_set_drive (qdev, "filter"), bk_qmp_call_cont () };
  add_source (daemon, "scratch", MIB);
  gboolean ok = bk_qmp_add_filter (daemon->client, "filter", node, "scratch", NULL, &error)
                && bk_qmp_client_call_all (daemon->client, calls, 3, 0, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  for (int i = 0; i < 3; i++) {
    bk_assert_no_error (calls[i].error);
    bk_qmp_call_clear (&calls[i]);
  }
  g_autofree char *filter = node_of (daemon, qdev);
  ck_assert_str_eq (filter, "filter");
  ok = bk_qmp_add_snapshot (daemon->client, "snapshot", "filter", NULL, &error)
       && bk_qmp_del_node (daemon->client, "snapshot", NULL, &error)
       && bk_qmp_set_drive (daemon->client, qdev, node, NULL, &error)
       && bk_qmp_del_node (daemon->client, "filter", NULL, &error)
       && bk_qmp_del_node (daemon->client, "scratch", NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  g_autofree char *after = node_of (daemon, qdev);
  ck_assert_str_eq (after, node);
}

static void
inserts_filters (gpointer data)
{
  Daemon *daemon = data;
  g_autoptr (GError) error = NULL;
  g_autofree char *status = NULL, *now = NULL, *iothread = NULL, *none = NULL;
  ready (daemon);
  ck_assert (bk_qmp_query_status (daemon->client, &status, NULL, &error));
  ck_assert_str_eq (status, "prelaunch");
  for (size_t i = 0; i < G_N_ELEMENTS (qdevs); i++)
    insert_filter (daemon, qdevs[i]);
  ck_assert (bk_qmp_cont (daemon->client, NULL, &error));
  ck_assert (bk_qmp_query_status (daemon->client, &now, NULL, &error));
  ck_assert_str_eq (now, "running");
  ck_assert (bk_qmp_qom_get_string (daemon->client, qdevs[6], "iothread", &iothread, NULL, &error));
  ck_assert_str_eq (iothread, "/objects/io0");
  for (size_t i = 0; i < 6; i++) {
    ck_assert (bk_qmp_qom_get_string (daemon->client, qdevs[i], "iothread", &none, NULL, &error));
    ck_assert_ptr_null (none);
  }
}

START_TEST (inserts_filters_at_every_device)
{
  Daemon daemon = { 0 };
  machine_start (&daemon);
  bk_worker_run (inserts_filters, &daemon);
  daemon_stop (&daemon);
}
END_TEST

static void
knows_features (gpointer data)
{
  Daemon *daemon = data;
  g_autoptr (GError) error = NULL;
  BkQmpFeatures features = { 0 };
  ready (daemon);
  for (int i = 0; i < 2; i++) {
    gboolean ok = bk_qmp_features (daemon->client, &features, NULL, &error);
    bk_assert_no_error (error);
    ck_assert (ok && features.snapshot_push && features.backup_perf && features.bitmap_merge && features.yank);
  }
}

START_TEST (knows_the_features)
{
  in_worker (true, knows_features);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { connects_and_asks,      runs_a_job_and_sees_its_events,   opens_a_file_by_descriptor,
                                 merges_bitmaps,         controls_a_job,                   yanks_a_hung_server, cuts_off_a_stopped_server,
                                 reopening_tells_of_lost_metadata, no_flush_is_no_fdatasync, inserts_filters_at_every_device,
                                 knows_the_features, NULL };
  return bk_suite_run ("qmp-qemu", tests);
}
