/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backend.h"
#include "suite.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* A backend that notes what reached it and answers as it was told. */
typedef struct {
  BkBackend backend;
  GString *calls;
  bool fails;
  bool freed;
} Fake;

static gboolean
note (BkBackend *backend, const char *call, GError **error)
{
  Fake *fake = (Fake *)backend;
  g_string_append_printf (fake->calls, "%s ", call);
  if (fake->fails)
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "%s: the VM is gone", call);
  return !fake->fails;
}

static void
fake_connect (BkBackend *backend)
{
  note (backend, "connect", NULL);
}

static void
fake_disconnect (BkBackend *backend)
{
  note (backend, "disconnect", NULL);
}

static void
fake_free (BkBackend *backend)
{
  ((Fake *)backend)->freed = true;
}

static BkLink
fake_link (BkBackend *backend G_GNUC_UNUSED, char **reason, char **version)
{
  *reason = g_strdup ("busy");
  *version = g_strdup ("7.2");
  return BK_LINK_BUSY;
}

static BkVmState *
fake_inspect (BkBackend *backend, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  if (!note (backend, "inspect", error))
    return NULL;
  BkVmState *state = g_new0 (BkVmState, 1);
  state->status = g_strdup ("running");
  state->version = g_strdup ("7.2");
  state->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_disk_free);
  return state;
}

static void
set_states (BkRun *run, const char *state)
{
  for (guint i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = g_ptr_array_index (run->disks, i);
    g_free (disk->state);
    disk->state = g_strdup (state);
  }
}

static gboolean
fake_prepare (BkBackend *backend, BkRun *run G_GNUC_UNUSED, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  return note (backend, "prepare", error);
}

static gboolean
fake_snapshot (BkBackend *backend, BkRun *run, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  run->point_in_time = 1;
  return note (backend, "snapshot", error);
}

static gboolean
fake_start (BkBackend *backend, BkRun *run, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  set_states (run, "running");
  return note (backend, "start", error);
}

static gboolean
fake_wait (BkBackend *backend, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable G_GNUC_UNUSED,
           GError **error)
{
  *done = timeout_ms > 0;
  if (*done)
    set_states (run, "copied");
  return note (backend, "wait", error);
}

static gboolean
fake_pause (BkBackend *backend, BkRun *run G_GNUC_UNUSED, bool pause, GError **error)
{
  return note (backend, pause ? "pause" : "resume", error);
}

static gboolean
fake_set_speed (BkBackend *backend, BkRun *run G_GNUC_UNUSED, uint64_t speed, GError **error)
{
  return note (backend, speed == 7 ? "speed7" : "speed", error);
}

static gboolean
fake_close (BkBackend *backend, BkRun *run G_GNUC_UNUSED, GError **error)
{
  return note (backend, "close", error);
}

static gboolean
fake_export (BkBackend *backend, BkRun *run, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  run->nbd_address = g_strdup ("unix:/s");
  for (guint i = 0; i < run->disks->len; i++)
    ((BkRunDisk *)g_ptr_array_index (run->disks, i))->export_name = g_strdup ("x");
  set_states (run, "running");
  return note (backend, "export", error);
}

static gboolean
fake_check_frozen (BkBackend *backend, BkRun *run G_GNUC_UNUSED, GError **error)
{
  return note (backend, "check", error);
}

static gboolean
fake_release (BkBackend *backend, BkRun *run G_GNUC_UNUSED, GError **error)
{
  return note (backend, "release", error);
}

static gboolean
fake_rollback (BkBackend *backend, BkRun *run G_GNUC_UNUSED, bool all, GError **error)
{
  return note (backend, all ? "rollback-all" : "rollback", error);
}

static gboolean
fake_checkpoint_create (BkBackend *backend, BkRun *run G_GNUC_UNUSED, GError **error)
{
  return note (backend, "create", error);
}

static gboolean
fake_checkpoint_delete (BkBackend *backend, const char *node, const char *bitmap, const char *parent, bool newest, bool *merged,
                        GError **error)
{
  const char *age = newest ? "newest" : "old";
  *merged = parent != NULL;
  g_autofree char *call = g_strjoin (",", "delete", node, bitmap, parent ? parent : "-", age, NULL);
  return note (backend, call, error);
}

static const BkBackendOps ops = {
  .name = "fake",
  .connect = fake_connect,
  .disconnect = fake_disconnect,
  .free = fake_free,
  .link = fake_link,
  .inspect = fake_inspect,
  .prepare = fake_prepare,
  .snapshot = fake_snapshot,
  .start = fake_start,
  .wait = fake_wait,
  .pause = fake_pause,
  .set_speed = fake_set_speed,
  .close = fake_close,
  .export = fake_export,
  .check_frozen = fake_check_frozen,
  .release = fake_release,
  .rollback = fake_rollback,
  .checkpoint_create = fake_checkpoint_create,
  .checkpoint_delete = fake_checkpoint_delete,
};

static Fake *
fake_new (void)
{
  Fake *fake = g_new0 (Fake, 1);
  fake->backend.ops = &ops;
  fake->calls = g_string_new (NULL);
  return fake;
}

static void
fake_destroy (Fake *fake)
{
  g_string_free (fake->calls, TRUE);
  g_free (fake);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Fake, fake_destroy)

static BkRun *
run_new (const char *mode)
{
  BkRun *run = g_new0 (BkRun, 1);
  run->prefix = g_strdup ("bkd-1a2b3c-42");
  run->mode = g_strdup (mode);
  run->disks = g_ptr_array_new ();
  for (uint64_t i = 0; i < 2; i++) {
    BkRunDisk *disk = g_new0 (BkRunDisk, 1);
    disk->name = g_strdup_printf ("vd%c", (char)('a' + i));
    disk->node = g_strdup_printf ("node%d", (int)i);
    disk->bitmap = g_strdup ("bkd-1a2b3c-cp-42");
    disk->state = g_strdup ("planned");
    disk->index = i;
    g_ptr_array_add (run->disks, disk);
  }
  return run;
}

START_TEST (passes_calls_on_in_order)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (Fake) fake = fake_new ();
  g_autoptr (BkRun) run = run_new ("push");
  BkBackend *backend = &fake->backend;
  bool done = true;
  bk_backend_connect (backend);
  g_autoptr (BkVmState) state = bk_backend_inspect (backend, NULL, &error);
  ck_assert_str_eq (state->status, "running");
  ck_assert (bk_backend_prepare (backend, run, NULL, &error));
  ck_assert (bk_backend_snapshot (backend, run, NULL, &error));
  ck_assert (bk_backend_start (backend, run, NULL, &error));
  ck_assert (bk_backend_wait (backend, run, 0, &done, NULL, &error) && !done);
  ck_assert (bk_backend_pause (backend, run, true, &error));
  ck_assert (bk_backend_pause (backend, run, false, &error));
  ck_assert (bk_backend_set_speed (backend, run, 7, &error));
  ck_assert (bk_backend_wait (backend, run, 1, &done, NULL, &error) && done);
  ck_assert (bk_backend_close (backend, run, &error));
  ck_assert (bk_backend_release (backend, run, &error));
  ck_assert (bk_backend_rollback (backend, run, false, &error));
  ck_assert (bk_backend_rollback (backend, run, true, &error));
  ck_assert (bk_backend_checkpoint_create (backend, run, &error));
  bool merged = false;
  ck_assert (bk_backend_checkpoint_delete (backend, "n", "b", "p", true, &merged, &error) && merged);
  ck_assert (bk_backend_checkpoint_delete (backend, "n", "b", NULL, false, &merged, &error) && !merged);
  bk_backend_disconnect (backend);
  bk_assert_no_error (error);
  ck_assert_str_eq (fake->calls->str,
                    "connect inspect prepare snapshot start wait pause resume speed7 wait close release rollback "
                    "rollback-all create delete,n,b,p,newest delete,n,b,-,old disconnect ");
  bk_backend_free (backend);
  ck_assert (fake->freed);
  bk_backend_free (NULL);
}
END_TEST

START_TEST (passes_a_pull_on)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (Fake) fake = fake_new ();
  g_autoptr (BkRun) run = run_new ("pull");
  BkBackend *backend = &fake->backend;
  run->export_folder = g_strdup ("/e");
  run->point_in_time = 1;
  ck_assert (bk_backend_export (backend, run, NULL, &error));
  ck_assert (bk_backend_check_frozen (backend, run, &error));
  bk_assert_no_error (error);
  ck_assert_str_eq (fake->calls->str, "export check ");
  fake->fails = true;
  ck_assert (!bk_backend_check_frozen (backend, run, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
}
END_TEST

START_TEST (tells_the_link)
{
  g_autoptr (Fake) fake = fake_new ();
  g_autofree char *reason = NULL;
  g_autofree char *version = NULL;
  ck_assert_int_eq (bk_backend_link (&fake->backend, &reason, &version), BK_LINK_BUSY);
  ck_assert_str_eq (reason, "busy");
  ck_assert_str_eq (version, "7.2");
  ck_assert_int_eq (bk_backend_link (&fake->backend, NULL, NULL), BK_LINK_BUSY);
}
END_TEST

START_TEST (passes_failures_up)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (Fake) fake = fake_new ();
  g_autoptr (BkRun) run = run_new ("push");
  fake->fails = true;
  ck_assert_ptr_null (bk_backend_inspect (&fake->backend, NULL, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert (!bk_backend_prepare (&fake->backend, run, NULL, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert (!bk_backend_release (&fake->backend, run, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert (!bk_backend_rollback (&fake->backend, run, true, NULL));
}
END_TEST

START_TEST (begins_nothing_when_cancelled)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (Fake) fake = fake_new ();
  g_autoptr (BkRun) run = run_new ("push-direct");
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  bool done = false;
  g_cancellable_cancel (cancellable);
  ck_assert_ptr_null (bk_backend_inspect (&fake->backend, cancellable, &error));
  bk_assert_error (error, BK_ERROR_CANCELLED);
  ck_assert (!bk_backend_prepare (&fake->backend, run, cancellable, &error));
  bk_assert_error (error, BK_ERROR_CANCELLED);
  ck_assert (!bk_backend_snapshot (&fake->backend, run, cancellable, &error));
  bk_assert_error (error, BK_ERROR_CANCELLED);
  ck_assert (!bk_backend_start (&fake->backend, run, cancellable, &error));
  bk_assert_error (error, BK_ERROR_CANCELLED);
  run->point_in_time = 1;
  ck_assert (!bk_backend_wait (&fake->backend, run, 1, &done, cancellable, &error));
  bk_assert_error (error, BK_ERROR_CANCELLED);
  ck_assert_str_eq (fake->calls->str, "");
}
END_TEST

static void
expect_abort (void (*misuse) (BkBackend *, BkRun *))
{
  pid_t pid = fork ();
  ck_assert_int_ge (pid, 0);
  if (pid == 0) {
    if (freopen ("/dev/null", "w", stderr) == NULL)
      _exit (1);
    Fake *fake = fake_new ();
    misuse (&fake->backend, run_new ("push"));
    _exit (0);
  }
  int status = 0;
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  ck_assert (WIFSIGNALED (status) && WTERMSIG (status) == SIGABRT);
}

static void
start_before_snapshot (BkBackend *backend, BkRun *run)
{
  ck_assert (bk_backend_start (backend, run, NULL, NULL));
}

static void
export_a_push (BkBackend *backend, BkRun *run)
{
  run->point_in_time = 1;
  run->export_folder = g_strdup ("/e");
  ck_assert (bk_backend_export (backend, run, NULL, NULL));
}

static void
check_before_export (BkBackend *backend, BkRun *run)
{
  g_free (run->mode);
  run->mode = g_strdup ("pull");
  run->point_in_time = 1;
  ck_assert (bk_backend_check_frozen (backend, run, NULL));
}

static void
close_while_running (BkBackend *backend, BkRun *run)
{
  set_states (run, "running");
  ck_assert (bk_backend_close (backend, run, NULL));
}

static void
same_index_twice (BkBackend *backend, BkRun *run)
{
  ((BkRunDisk *)g_ptr_array_index (run->disks, 1))->index = 0;
  ck_assert (bk_backend_prepare (backend, run, NULL, NULL));
}

static void
increment_of_nothing (BkBackend *backend, BkRun *run)
{
  ((BkRunDisk *)g_ptr_array_index (run->disks, 1))->sync = g_strdup ("bitmap");
  ck_assert (bk_backend_prepare (backend, run, NULL, NULL));
}

static void
foreign_prefix (BkBackend *backend, BkRun *run)
{
  run->prefix[0] = 'x';
  ck_assert (bk_backend_release (backend, run, NULL));
}

static void
snapshot_twice (BkBackend *backend, BkRun *run)
{
  ck_assert (bk_backend_snapshot (backend, run, NULL, NULL));
  ck_assert (bk_backend_snapshot (backend, run, NULL, NULL));
}

START_TEST (aborts_on_misuse)
{
  expect_abort (start_before_snapshot);
  expect_abort (export_a_push);
  expect_abort (check_before_export);
  expect_abort (close_while_running);
  expect_abort (same_index_twice);
  expect_abort (increment_of_nothing);
  expect_abort (foreign_prefix);
  expect_abort (snapshot_twice);
}
END_TEST

static void
notified (BkBackend *backend G_GNUC_UNUSED, BkLink link, const char *event G_GNUC_UNUSED, gpointer user_data)
{
  *(BkLink *)user_data = link;
}

START_TEST (keeps_who_is_to_be_notified)
{
  g_autoptr (Fake) fake = fake_new ();
  BkLink link = BK_LINK_DOWN;
  bk_backend_set_notify (&fake->backend, notified, &link);
  fake->backend.notify (&fake->backend, BK_LINK_READY, NULL, fake->backend.notify_data);
  ck_assert_int_eq (link, BK_LINK_READY);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { passes_calls_on_in_order,      passes_a_pull_on, tells_the_link, passes_failures_up,
                                 begins_nothing_when_cancelled, aborts_on_misuse, keeps_who_is_to_be_notified,
                                 NULL };
  return bk_suite_run ("backend", tests);
}
