/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The client and the commands against a real qemu-storage-daemon.
 */
#include "process.h"
#include "qmp-commands.h"
#include "suite.h"
#include "worker.h"

#include <fcntl.h>
#include <unistd.h>

#define MIB (1024 * 1024)

typedef struct {
  char *folder;
  char *socket;
  BkProcess *process;
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
  const char *const system[] = { "qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-chardev",
                                 chardev, "-mon", "chardev=q,mode=control", NULL };
  daemon->process = bk_process_start_listening (emulator ? system : storage, daemon->socket);
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

int
main (void)
{
  const TTest *const tests[] = { connects_and_asks, runs_a_job_and_sees_its_events, opens_a_file_by_descriptor, NULL };
  return bk_suite_run ("qmp-storage-daemon", tests);
}
