/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "file-reader.h"
#include "file-sink.h"
#include "nbd-sink.h"
#include "qcow2-sink.h"
#include "scene.h"
#include "suite.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (24 * MIB + 512)

static BkReader *
open_file (const char *path)
{
  g_autoptr (GError) error = NULL;
  BkReader *reader = bk_file_reader_new (path, NULL, NULL, &error);
  bk_assert_no_error (error);
  return reader;
}

static BkSink *
open_nbd (const Server *server)
{
  g_autoptr (GError) error = NULL;
  BkSink *sink = bk_nbd_sink_new (&server->address, NULL, NULL, &error);
  bk_assert_no_error (error);
  return sink;
}

/* A file of @size bytes that are not zero. (transfer full) */
static char *
make_old (const char *folder, uint64_t size)
{
  char *path = g_build_filename (folder, "old", NULL);
  g_autofree char *write = g_strdup_printf ("write -q -P 238 0 %lu", size);
  g_autofree char *text = g_strdup_printf ("%lu", size);
  bk_process_run ((const char *[]){ "qemu-img", "create", "-q", "-f", "raw", path, text, NULL });
  bk_process_run ((const char *[]){ "qemu-io", "-f", "raw", "-c", write, path, NULL });
  return path;
}

/* Neither our child processes nor temporary sockets are left. */
static void
assert_no_helper (void)
{
  ck_assert_int_lt (waitpid (-1, NULL, WNOHANG), 0);
  GDir *dir = g_dir_open (g_get_tmp_dir (), 0, NULL);
  for (const char *name; (name = g_dir_read_name (dir));)
    ck_assert_msg (!g_str_has_prefix (name, "backupd-nbd-"), "%s is left", name);
  g_dir_close (dir);
}

/* --- files --- */

START_TEST (a_new_file_is_sparse)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE), *out = g_build_filename (folder, "out", NULL);
  g_autoptr (GError) error = NULL;
  BkCopyCounters counters = { 0 };
  BkSink *sink = bk_file_sink_new (out, SIZE, &error);
  bk_assert_no_error (error);
  carry (open_file (raw), sink, NULL, &counters, &error);
  bk_assert_no_error (error);
  assert_same (raw, "raw", out, "raw");
  struct stat st, source;
  ck_assert_int_eq (stat (out, &st), 0);
  ck_assert_int_eq (stat (raw, &source), 0);
  ck_assert_int_lt (st.st_blocks, source.st_blocks); /* zero bytes are holes now */
  ck_assert_int_eq (st.st_mode & 0777, 0600);
  ck_assert_uint_lt (counters.read, SIZE);
  ck_assert_ptr_null (bk_file_sink_new (out, SIZE, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
}
END_TEST

START_TEST (an_old_file_is_overwritten)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE), *old = make_old (folder, SIZE);
  g_autoptr (GError) error = NULL;
  BkSink *sink = bk_file_sink_open (old, &error);
  bk_assert_no_error (error);
  carry (open_file (raw), sink, NULL, NULL, &error);
  bk_assert_no_error (error);
  assert_same (raw, "raw", old, "raw");
}
END_TEST

START_TEST (what_is_no_target)
{
  g_autofree char *folder = bk_suite_folder (), *missing = g_build_filename (folder, "x", "y", NULL);
  g_autoptr (GError) error = NULL;
  ck_assert_ptr_null (bk_file_sink_open (missing, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert_ptr_null (bk_file_sink_new (missing, 1, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert_ptr_null (bk_file_sink_open ("/dev/null", &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  ck_assert_ptr_null (bk_file_reader_new (missing, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert_ptr_null (bk_file_reader_new ("/dev/null", NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

START_TEST (a_source_that_shrinks)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_old (folder, SIZE), *out = g_build_filename (folder, "out", NULL);
  g_autoptr (GError) error = NULL;
  BkSink *sink = bk_file_sink_new (out, SIZE, &error);
  bk_assert_no_error (error);
  BkReader *reader = bk_file_reader_new (raw, &(BkFileReaderOptions){ .no_holes = true }, NULL, &error);
  bk_assert_no_error (error);
  ck_assert_int_eq (truncate (raw, (off_t)MIB), 0);
  ck_assert (!carry (reader, sink, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
  ck_assert (!g_file_test (out, G_FILE_TEST_EXISTS));
}
END_TEST

/* --- NBD --- */

START_TEST (to_a_server)
{
  for (int multi = 0; multi < 2; multi++) {
    g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE), *old = make_old (folder, SIZE);
    g_autoptr (GError) error = NULL;
    g_autoptr (Server) server = server_start ("qemu-nbd", "-e", multi ? "8" : "1", "-f", "raw", old, NULL);
    carry (open_file (raw), open_nbd (server), NULL, NULL, &error);
    bk_assert_no_error (error);
    assert_same (raw, "raw", old, "raw");
  }
}
END_TEST

START_TEST (to_a_server_that_cannot_zero)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE), *old = make_old (folder, SIZE);
  g_autofree char *file = g_strconcat ("file=", old, NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (Server) server = server_start ("nbdkit", "--filter=nozero", "--filter=blocksize-policy", "file", file, "blocksize-minimum=512",
                                            "blocksize-preferred=4096", "blocksize-maximum=65536", "blocksize-error-policy=error", NULL);
  carry (open_file (raw), open_nbd (server), NULL, NULL, &error);
  bk_assert_no_error (error);
  bk_process_signal (server->process, SIGTERM);
  bk_process_wait (server->process);
  assert_same (raw, "raw", old, "raw");
}
END_TEST

START_TEST (a_server_that_is_full_or_read_only)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE);
  g_autoptr (GError) error = NULL;
  g_autoptr (Server) full = server_start ("nbdkit", "--filter=error", "memory", "25M", "error=ENOSPC", "error-pwrite-rate=20%", NULL);
  ck_assert (!carry (open_file (raw), open_nbd (full), NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_NO_SPACE);
  g_autoptr (Server) closed = server_start ("nbdkit", "-r", "memory", "25M", NULL);
  ck_assert_ptr_null (bk_nbd_sink_new (&closed->address, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_DENIED);
}
END_TEST

static gpointer
cancel_soon (gpointer cancellable)
{
  g_usleep (300000);
  g_cancellable_cancel (cancellable);
  return NULL;
}

START_TEST (a_target_that_hangs)
{
  static const char *const delays[] = { "wdelay=40", "delay-zero=40" };
  for (size_t i = 0; i < G_N_ELEMENTS (delays); i++) {
    g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE);
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (GError) error = NULL;
    g_autoptr (Server) server = server_start ("nbdkit", "--filter=delay", "memory", "25M", delays[i], NULL);
    GThread *thread = g_thread_new ("cancel", cancel_soon, cancellable);
    gint64 begun = g_get_monotonic_time ();
    ck_assert (!carry (open_file (raw), open_nbd (server), cancellable, NULL, &error));
    ck_assert_int_lt (g_get_monotonic_time () - begun, 300000 + SOON_US);
    bk_assert_error (error, BK_ERROR_CANCELLED);
    g_thread_join (thread);
  }
}
END_TEST

/* --- qcow2 --- */

static char *
make_qcow2 (const char *folder, uint64_t size)
{
  char *path = g_build_filename (folder, "image:1", NULL); /* a name that is no URL */
  g_autofree char *text = g_strdup_printf ("%lu", size);
  bk_process_run ((const char *[]){ "qemu-img", "create", "-q", "-f", "qcow2", path, text, NULL });
  return path;
}

START_TEST (to_qcow2)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE), *image = make_qcow2 (folder, SIZE);
  g_autofree char *file = g_strconcat ("file:", image, NULL);
  g_autoptr (GError) error = NULL;
  carry (open_file (raw), bk_qcow2_sink_new (image, SIZE), NULL, NULL, &error);
  bk_assert_no_error (error);
  assert_no_helper ();
  bk_process_run ((const char *[]){ "qemu-img", "check", "-q", "-f", "qcow2", file, NULL });
  assert_same (raw, "raw", file, "qcow2");
}
END_TEST

START_TEST (qcow2_that_cannot_be)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE), *image = make_qcow2 (folder, MIB);
  g_autoptr (GError) error = NULL;
  ck_assert (!carry (open_file (raw), bk_qcow2_sink_new (raw, SIZE), NULL, NULL, &error)); /* not a qcow2 image */
  ck_assert_msg (strstr (error->message, "qemu-nbd") && strstr (error->message, "qcow2"), "%s", error->message);
  bk_assert_error (error, BK_ERROR_FAILED);
  ck_assert (!carry (open_file (raw), bk_qcow2_sink_new (image, SIZE), NULL, NULL, &error)); /* too small */
  bk_assert_error (error, BK_ERROR_FAILED);
  g_setenv ("BACKUPD_QEMU_NBD", "/nowhere/qemu-nbd", TRUE);
  ck_assert (!carry (open_file (raw), bk_qcow2_sink_new (image, SIZE), NULL, NULL, &error));
  ck_assert_msg (strstr (error->message, "BACKUPD_QEMU_NBD") != NULL, "%s", error->message);
  bk_assert_error (error, BK_ERROR_FAILED);
  assert_no_helper ();
}
END_TEST

/* The child of this process; 0 = none. */
static pid_t
find_helper (void)
{
  pid_t found = 0;
  GDir *tasks = g_dir_open ("/proc/self/task", 0, NULL);
  for (const char *name; (name = g_dir_read_name (tasks)) && found == 0;) {
    g_autofree char *children = g_strdup_printf ("/proc/self/task/%s/children", name), *list = NULL;
    if (g_file_get_contents (children, &list, NULL, NULL))
      found = (pid_t)g_ascii_strtoll (list, NULL, 10);
  }
  g_dir_close (tasks);
  return found;
}

typedef struct {
  GCancellable *cancellable; /* NULL: kill it instead */
} Fate;

static gpointer
strike_helper (gpointer data)
{
  const Fate *fate = data;
  pid_t helper = 0;
  for (int i = 0; i < 1000 && helper == 0; i++) {
    g_usleep (5000);
    helper = find_helper ();
  }
  ck_assert_int_gt (helper, 0);
  g_usleep (300000);
  if (fate->cancellable)
    g_cancellable_cancel (fate->cancellable);
  else
    kill (helper, SIGKILL);
  return NULL;
}

START_TEST (qcow2_is_cancelled_or_its_server_dies)
{
  for (int kills = 0; kills < 2; kills++) {
    g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE), *image = make_qcow2 (folder, SIZE);
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (GError) error = NULL;
    Fate fate = { kills ? NULL : cancellable };
      BkReader *reader = open_file (raw);
    BkSink *sink = bk_qcow2_sink_new (image, SIZE);
    BkCopy *copy = bk_copy_new (reader, sink, NULL);
    bk_copy_set_speed (copy, MIB);
    GThread *thread = g_thread_new ("strike", strike_helper, &fate);
    ck_assert (!bk_copy_run (copy, cancellable, &error));
    bk_copy_free (copy);
    bk_reader_free (reader);
    bk_sink_free (sink);
    bk_assert_error (error, kills ? BK_ERROR_UNREACHABLE : BK_ERROR_CANCELLED);
    g_thread_join (thread);
    assert_no_helper ();
  }
}
END_TEST

int
main (void)
{
  char temporary[] = "/tmp/backupd-test-XXXXXX"; /* where nobody else leaves anything */
  g_assert (mkdtemp (temporary));
  g_setenv ("TMPDIR", temporary, TRUE);
  const TTest *const tests[] = {
    a_new_file_is_sparse, an_old_file_is_overwritten, what_is_no_target, a_source_that_shrinks, to_a_server, to_a_server_that_cannot_zero,
    a_server_that_is_full_or_read_only, a_target_that_hangs, to_qcow2, qcow2_that_cannot_be, qcow2_is_cancelled_or_its_server_dies, NULL,
  };
  int status = bk_suite_run ("mover-sinks", tests);
  rmdir (temporary);
  return status;
}
