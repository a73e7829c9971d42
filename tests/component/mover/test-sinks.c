/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From a sparse file to a file, an NBD server and a qcow2 image, and what is there then.
 */
#include "copy.h"
#include "file-reader.h"
#include "file-sink.h"
#include "nbd-reader.h"
#include "nbd-sink.h"
#include "qcow2-sink.h"
#include "suite.h"

#include <gio/gio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (24 * 1024 * 1024 + 512)

static char *folder, *source;

static char *
in_folder (const char *name)
{
  return g_build_filename (folder, name, NULL);
}

static void
run (const char *first, ...)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) arguments = g_ptr_array_new ();
  va_list list;
  va_start (list, first);
  for (const char *argument = first; argument; argument = va_arg (list, const char *))
    g_ptr_array_add (arguments, (char *)argument);
  va_end (list);
  g_ptr_array_add (arguments, NULL);
  g_autoptr (GSubprocess) process = g_subprocess_newv ((const char *const *)arguments->pdata, G_SUBPROCESS_FLAGS_STDOUT_SILENCE, &error);
  bk_assert_no_error (error);
  ck_assert_msg (g_subprocess_wait_check (process, NULL, &error), "%s: %s", first, error ? error->message : "");
}

/* Data, holes, written zeroes, and an end that is no multiple of anything. */
static void
start (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (6);
  folder = bk_suite_folder ();
  source = in_folder ("source.raw");
  FILE *file = fopen (source, "w");
  ck_assert_ptr_nonnull (file);
  for (long at = 0; at < SIZE - 70000; at += 256 * 1024) {
    char data[70000] = { 0 };
    for (size_t i = 0; at % (1024 * 1024) && i < sizeof data; i++)
      data[i] = (char)g_rand_int (rand);
    ck_assert (fseek (file, at, SEEK_SET) == 0 && fwrite (data, 1, sizeof data, file) == sizeof data);
    if (at > 8 * 1024 * 1024)
      at += 3 * 1024 * 1024;
  }
  ck_assert (ftruncate (fileno (file), SIZE) == 0);
  fclose (file);
  ck_assert (truncate (source, SIZE) == 0);
}

static void
stop (void)
{
  g_clear_pointer (&source, g_free);
  g_clear_pointer (&folder, g_free);
}

static gboolean
copy_to (BkSink *sink, GError **error)
{
  g_autoptr (BkReader) reader = bk_file_reader_new (source, NULL, NULL, error);
  ck_assert_ptr_nonnull (reader);
  ck_assert_uint_eq (reader->size, SIZE);
  g_autoptr (BkCopy) copy = bk_copy_new (reader, sink, NULL);
  gboolean ok = bk_copy_run (copy, NULL, error);
  BkCopyCounters counters = bk_copy_counters (copy);
  ck_assert (!ok || counters.transferred == SIZE);
  ck_assert (!ok || counters.zero > SIZE / 2);
  return ok;
}

START_TEST (to_a_file)
{
  g_autoptr (GError) error = NULL;
  struct stat st;
  g_autofree char *path = in_folder ("copy.raw");
  g_autoptr (BkSink) sink = bk_file_sink_new (path, SIZE, &error);
  ck_assert_msg (copy_to (sink, &error), "%s", error ? error->message : "");
  run ("cmp", source, path, NULL);
  ck_assert (stat (path, &st) == 0);
  ck_assert_int_lt (st.st_blocks * 512, SIZE / 2);
}
END_TEST

START_TEST (to_a_qcow2_image)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = in_folder ("copy.qcow2");
  g_autofree char *size = g_strdup_printf ("%d", SIZE);
  run ("qemu-img", "create", "-q", "-f", "qcow2", path, size, NULL);
  g_autoptr (BkSink) sink = bk_qcow2_sink_new (path, SIZE);
  ck_assert_msg (copy_to (sink, &error), "%s", error ? error->message : "");
  /* Nobody holds the image any more. */
  run ("qemu-img", "check", "-q", path, NULL);
  run ("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", source, path, NULL);
}
END_TEST

START_TEST (what_qemu_nbd_says_is_passed_on)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = in_folder ("no.qcow2");
  ck_assert (g_file_set_contents (path, "no image", -1, NULL));
  g_autoptr (BkSink) sink = bk_qcow2_sink_new (path, SIZE);
  ck_assert (!copy_to (sink, &error));
  ck_assert_msg (strstr (error->message, "not in qcow2 format") != NULL, "%s", error->message);
  bk_assert_error (error, BK_ERROR_FAILED);
}
END_TEST

static GSubprocess *
serve (const char *socket, const char *path, const char *option)
{
  g_autoptr (GError) error = NULL;
  GSubprocess *server = g_subprocess_new (G_SUBPROCESS_FLAGS_NONE, &error, "qemu-nbd", "-f", "raw", "-t", "-k", socket, "-x", "disk", option, path, NULL);
  bk_assert_no_error (error);
  for (int i = 0; i < 1000 && !g_file_test (socket, G_FILE_TEST_EXISTS); i++)
    g_usleep (10000);
  return server;
}

static void
end (GSubprocess *server)
{
  g_subprocess_send_signal (server, SIGTERM);
  ck_assert (g_subprocess_wait (server, NULL, NULL));
  g_object_unref (server);
}

/* One connection that all workers share, and several. */
START_TEST (to_an_nbd_server)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = in_folder ("served.raw"), *socket = in_folder ("s");
  g_autofree char *size = g_strdup_printf ("%d", SIZE);
  /* What was there before does not shine through. */
  run ("sh", "-c", "head -c $1 /dev/urandom > $0", path, size, NULL);
  GSubprocess *server = serve (socket, path, _i ? "--shared=8" : "--shared=1");
  const BkNbdAddress address = { .socket_path = socket, .export_name = "disk" };
  BkSink *sink = bk_nbd_sink_new (&address, NULL, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (sink->wants_zeroes);
  gboolean ok = copy_to (sink, &error);
  bk_sink_free (sink);
  end (server);
  ck_assert_msg (ok, "%s", error ? error->message : "");
  run ("cmp", source, path, NULL);
}
END_TEST

START_TEST (a_read_only_server_is_refused)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *socket = in_folder ("s");
  GSubprocess *server = serve (socket, source, "-r");
  const BkNbdAddress address = { .socket_path = socket, .export_name = "disk" };
  BkSink *sink = bk_nbd_sink_new (&address, NULL, NULL, &error);
  end (server);
  ck_assert_ptr_null (sink);
  bk_assert_error (error, BK_ERROR_DENIED);
}
END_TEST

START_TEST (a_server_that_ends_ends_the_copy)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = in_folder ("served.raw"), *socket = in_folder ("s");
  ck_assert (g_file_set_contents (path, "", 0, NULL) && truncate (path, SIZE) == 0);
  GSubprocess *server = serve (socket, path, "--shared=8");
  const BkNbdAddress address = { .socket_path = socket, .export_name = "disk" };
  BkSink *sink = bk_nbd_sink_new (&address, NULL, NULL, &error);
  bk_assert_no_error (error);
  g_subprocess_force_exit (server);
  ck_assert (g_subprocess_wait (server, NULL, NULL));
  ck_assert (!copy_to (sink, &error));
  bk_sink_free (sink);
  g_object_unref (server);
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("sinks");
  TCase *tests = tcase_create ("all");
  tcase_add_checked_fixture (tests, start, stop);
  tcase_set_timeout (tests, 60);
  tcase_add_test (tests, to_a_file);
  tcase_add_test (tests, to_a_qcow2_image);
  tcase_add_test (tests, what_qemu_nbd_says_is_passed_on);
  tcase_add_loop_test (tests, to_an_nbd_server, 0, 2);
  tcase_add_test (tests, a_read_only_server_is_refused);
  tcase_add_test (tests, a_server_that_ends_ends_the_copy);
  suite_add_tcase (suite, tests);
  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? 0 : 1;
}
