/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "file-reader.h"
#include "file-sink.h"
#include "nbd-reader.h"
#include "scene.h"
#include "suite.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SIZE (24 * MIB + 512)

static BkReader *
open_reader (const Server *server, const BkNbdReaderOptions *options)
{
  g_autoptr (GError) error = NULL;
  BkReader *reader = bk_nbd_reader_new (&server->address, options, NULL, &error);
  bk_assert_no_error (error);
  return reader;
}

static BkSink *
new_file (const char *path, uint64_t size)
{
  g_autoptr (GError) error = NULL;
  BkSink *sink = bk_file_sink_new (path, size, &error);
  bk_assert_no_error (error);
  return sink;
}

/* All of the server into a new file of @folder, which must be like @like. */
static BkCopyCounters
copy_all (const Server *server, const BkNbdReaderOptions *options, const char *folder, const char *like)
{
  g_autoptr (GError) error = NULL;
  BkCopyCounters counters = { 0 };
  g_autofree char *out = g_build_filename (folder, "out", NULL);
  carry (open_reader (server, options), new_file (out, SIZE), NULL, &counters, &error);
  bk_assert_no_error (error);
  assert_same (like, "raw", out, "raw");
  ck_assert_uint_eq (counters.total, SIZE);
  ck_assert_uint_eq (counters.transferred, SIZE);
  ck_assert_int_eq (unlink (out), 0);
  return counters;
}

START_TEST (copies_an_export)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE);
  g_autoptr (Server) server = server_start ("qemu-nbd", "-r", "-e", "8", "-f", "raw", raw, NULL);
  BkCopyCounters counters = copy_all (server, NULL, folder, raw);
  ck_assert_uint_lt (counters.read, SIZE); /* holes are not read */
  ck_assert_uint_gt (counters.read, 0);
  counters = copy_all (server, &(BkNbdReaderOptions){ .no_allocation = true }, folder, raw);
  ck_assert_uint_eq (counters.read, SIZE);
}
END_TEST

START_TEST (one_connection_for_all)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE);
  g_autofree char *file = g_strconcat ("file=", raw, NULL);
  g_autoptr (Server) server = server_start ("nbdkit", "--filter=multi-conn", "file", file, "multi-conn-mode=disable", NULL);
  BkCopyCounters counters = copy_all (server, NULL, folder, raw);
  ck_assert_uint_lt (counters.read, SIZE);
}
END_TEST

START_TEST (keeps_to_the_limits_of_the_server)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE);
  g_autofree char *file = g_strconcat ("file=", raw, NULL);
  g_autoptr (Server) server = server_start ("nbdkit", "--filter=blocksize-policy", "file", file, "blocksize-minimum=512",
                                            "blocksize-preferred=4096", "blocksize-maximum=65536", "blocksize-error-policy=error", NULL);
  copy_all (server, NULL, folder, raw);
}
END_TEST

START_TEST (largest_request_by_option)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE);
  g_autofree char *file = g_strconcat ("file=", raw, NULL), *log = g_build_filename (folder, "log", NULL);
  g_autofree char *logfile = g_strconcat ("logfile=", log, NULL), *text = NULL;
  g_autoptr (Server) server = server_start ("nbdkit", "--filter=log", "file", file, logfile, NULL);
  copy_all (server, &(BkNbdReaderOptions){ .max_request = 16 * KIB, .no_allocation = true }, folder, raw);
  ck_assert (g_file_get_contents (log, &text, NULL, NULL));
  ck_assert_ptr_nonnull (strstr (text, "Read id="));
  ck_assert_ptr_nonnull (strstr (text, "count=0x4000 "));
  ck_assert_ptr_null (strstr (text, "count=0x8000 "));
  ck_assert_ptr_null (strstr (text, "count=0x40000 "));
}
END_TEST

START_TEST (all_is_data_without_extents)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE);
  g_autofree char *file = g_strconcat ("file=", raw, NULL);
  g_autoptr (Server) server = server_start ("nbdkit", "--no-sr", "file", file, NULL);
  ck_assert_uint_eq (copy_all (server, NULL, folder, raw).read, SIZE);
}
END_TEST

START_TEST (tls_with_a_shared_key)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE);
  g_autofree char *file = g_strconcat ("file=", raw, NULL), *keys = g_build_filename (folder, "keys.psk", NULL);
  g_autofree char *psk = g_strconcat ("--tls-psk=", keys, NULL);
  g_autoptr (GError) error = NULL;
  bk_process_run ((const char *[]){ "psktool", "-u", "backup", "-p", keys, NULL });
  g_autoptr (Server) server = server_start ("nbdkit", "--tls=require", psk, "file", file, NULL);
  ck_assert_ptr_null (bk_nbd_reader_new (&server->address, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_DENIED);
  server->address.tls_psk_file = keys;
  server->address.tls_username = "somebody";
  ck_assert_ptr_null (bk_nbd_reader_new (&server->address, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_DENIED);
  server->address.tls_username = "backup";
  copy_all (server, NULL, folder, raw);
}
END_TEST

/* --- increments --- */

/* A qcow2 image with content, a bitmap "changes", and then: data at 1 MiB, zeroes at 4 MiB, 1 MiB of each. */
static char *
make_changed_image (const char *folder)
{
  char *image = g_build_filename (folder, "image", NULL);
  const char *const make[] = { "qemu-img", "create", "-q", "-f", "qcow2", image, "24M", NULL };
  const char *const fill[] = { "qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 12M", image, NULL };
  const char *const bitmap[] = { "qemu-img", "bitmap", "--add", image, "changes", NULL };
  const char *const change[] = { "qemu-io", "-f", "qcow2", "-c", "write -q -P 2 1M 1M", "-c", "write -q -z 4M 1M", image, NULL };
  bk_process_run (make);
  bk_process_run (fill);
  bk_process_run (bitmap);
  bk_process_run (change);
  bk_process_run ((const char *[]){ "qemu-img", "bitmap", "--disable", image, "changes", NULL });
  return image;
}

static gboolean
note_extent (uint64_t offset, uint64_t length, BkExtentKind kind, gpointer text, GError **error G_GNUC_UNUSED)
{
  static const char *const names[] = { "data", "zero", "clean" };
  g_string_append_printf (text, "%s %lu+%lu, ", names[kind], offset / KIB, length / KIB);
  return TRUE;
}

static void
assert_extents (BkReader *reader, const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GString) text = g_string_new (NULL);
  gboolean ok = bk_reader_open (reader, 2, NULL, &error) && bk_reader_extents (reader, note_extent, text, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert_str_eq (text->str, wanted);
}

#define CHANGES "clean 0+1024, data 1024+1024, clean 2048+2048, zero 4096+1024, clean 5120+19456, "

START_TEST (three_kinds_of_extents)
{
  g_autofree char *folder = bk_suite_folder (), *image = make_changed_image (folder);
  for (int one = 0; one < 2; one++) { /* one client at a time: no multi-conn */
    g_autoptr (Server) server = server_start ("qemu-nbd", "-r", "-e", one ? "1" : "8", "-f", "qcow2", "-B", "changes", image, NULL);
    const BkNbdReaderOptions options = { .dirty_context = "qemu:dirty-bitmap:changes" };
    g_autoptr (BkReader) reader = open_reader (server, &options);
    assert_extents (reader, CHANGES);
  }
}
END_TEST

START_TEST (content_and_changes_from_different_places)
{
  g_autofree char *folder = bk_suite_folder (), *image = make_changed_image (folder), *raw = g_build_filename (folder, "raw", NULL);
  bk_process_run ((const char *[]){ "qemu-img", "convert", "-q", "-f", "qcow2", "-O", "raw", image, raw, NULL });
  g_autofree char *file = g_strconcat ("file=", raw, NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (Server) map = server_start ("qemu-nbd", "-r", "-e", "8", "-f", "qcow2", "-B", "changes", image, NULL);
  g_autoptr (Server) content = server_start ("nbdkit", "file", file, NULL);
  const BkNbdReaderOptions options = { .dirty_context = "qemu:dirty-bitmap:changes", .dirty_address = &map->address };
  g_autoptr (BkReader) nbd = open_reader (content, &options);
  assert_extents (nbd, CHANGES);
  const BkFileReaderOptions file_options = { .dirty_context = "qemu:dirty-bitmap:changes", .dirty_address = &map->address };
  g_autoptr (BkReader) reader = bk_file_reader_new (raw, &file_options, NULL, &error);
  bk_assert_no_error (error);
  assert_extents (reader, CHANGES);
  ck_assert_int_eq (truncate (raw, 20 * (off_t)MIB), 0);
  ck_assert_ptr_null (bk_file_reader_new (raw, &file_options, NULL, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

START_TEST (an_increment_onto_its_base)
{
  g_autofree char *folder = bk_suite_folder (), *image = make_changed_image (folder), *base = g_build_filename (folder, "base", NULL);
  g_autoptr (GError) error = NULL;
  BkCopyCounters counters = { 0 };
  bk_process_run ((const char *[]){ "qemu-img", "create", "-q", "-f", "raw", base, "24M", NULL });
  bk_process_run ((const char *[]){ "qemu-io", "-f", "raw", "-c", "write -q -P 1 0 12M", base, NULL });
  g_autoptr (Server) server = server_start ("qemu-nbd", "-r", "-e", "8", "-f", "qcow2", "-B", "changes", image, NULL);
  BkSink *sink = bk_file_sink_open (base, &error);
  bk_assert_no_error (error);
  carry (open_reader (server, &(BkNbdReaderOptions){ .dirty_context = "qemu:dirty-bitmap:changes" }), sink, NULL, &counters, &error);
  bk_assert_no_error (error);
  assert_same (image, "qcow2", base, "raw");
  ck_assert_uint_eq (counters.total, 2 * MIB);
  ck_assert_uint_eq (counters.read, MIB);
  ck_assert_uint_eq (counters.zero, MIB);
  ck_assert_uint_eq (counters.clean, 22 * MIB);
}
END_TEST

START_TEST (no_such_bitmap)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE);
  g_autoptr (GError) error = NULL;
  g_autoptr (Server) server = server_start ("qemu-nbd", "-r", "-e", "8", "-f", "raw", raw, NULL);
  ck_assert_ptr_null (bk_nbd_reader_new (&server->address, &(BkNbdReaderOptions){ .dirty_context = "qemu:dirty-bitmap:x" }, NULL, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
}
END_TEST

typedef struct {
  uint64_t data, zero, n;
} Sums;

static gboolean
sum_up (uint64_t offset G_GNUC_UNUSED, uint64_t length, BkExtentKind kind, gpointer user_data, GError **error G_GNUC_UNUSED)
{
  Sums *sums = user_data;
  *(kind == BK_EXTENT_DATA ? &sums->data : &sums->zero) += length;
  sums->n++;
  return TRUE;
}

START_TEST (a_large_fragmented_disk)
{
  g_autoptr (Server) server = server_start ("nbdkit", "sparse-random", "size=64G", "runlength=65536", "percent=10", "seed=7", NULL);
  g_autoptr (BkReader) reader = open_reader (server, NULL);
  g_autoptr (GError) error = NULL;
  Sums sums = { 0 };
  ck_assert (bk_reader_open (reader, 1, NULL, &error) && bk_reader_extents (reader, sum_up, &sums, NULL, &error));
  ck_assert_uint_eq (sums.data + sums.zero, 64 * 1024 * MIB);
  ck_assert_uint_gt (sums.n, 50000);
  ck_assert_uint_gt (sums.data, 4 * 1024 * MIB);
  ck_assert_uint_lt (sums.data, 9 * 1024 * MIB);
}
END_TEST

/* --- trouble --- */

START_TEST (nobody_there)
{
  g_autofree char *folder = bk_suite_folder (), *path = g_build_filename (folder, "nobody", NULL);
  g_autoptr (GError) error = NULL;
  ck_assert_ptr_null (bk_nbd_reader_new (&(BkNbdAddress){ .socket_path = path }, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert_ptr_null (bk_nbd_reader_new (&(BkNbdAddress){ .uri = "nbd://127.0.0.1:1/" }, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert_ptr_null (bk_nbd_reader_new (&(BkNbdAddress){ .uri = "gopher://127.0.0.1/" }, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

START_TEST (no_such_export)
{
  g_autofree char *folder = bk_suite_folder (), *raw = make_raw (folder, "raw", SIZE);
  g_autoptr (GError) error = NULL;
  g_autoptr (Server) server = server_start ("qemu-nbd", "-r", "-x", "vda", "-f", "raw", raw, NULL);
  server->address.export_name = "vdb";
  ck_assert_ptr_null (bk_nbd_reader_new (&server->address, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

static gpointer
cancel_soon (gpointer cancellable)
{
  g_usleep (300000);
  g_cancellable_cancel (cancellable);
  return NULL;
}

/* Listens, and says nothing. */
START_TEST (cancel_while_connecting)
{
  g_autofree char *folder = bk_suite_folder (), *path = g_build_filename (folder, "silent", NULL);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ck_assert_uint_lt (g_strlcpy (address.sun_path, path, sizeof address.sun_path), sizeof address.sun_path);
  ck_assert_int_eq (bind (fd, (struct sockaddr *)&address, sizeof address), 0);
  ck_assert_int_eq (listen (fd, 5), 0);
  GThread *thread = g_thread_new ("cancel", cancel_soon, cancellable);
  gint64 begun = g_get_monotonic_time ();
  ck_assert_ptr_null (bk_nbd_reader_new (&(BkNbdAddress){ .socket_path = path }, NULL, cancellable, &error));
  ck_assert_int_lt (g_get_monotonic_time () - begun, 300000 + SOON_US);
  bk_assert_error (error, BK_ERROR_CANCELLED);
  g_thread_join (thread);
  close (fd);
}
END_TEST

/* A copy that must fail with @code; nothing is left of the file. */
static void
assert_fails (const Server *server, GCancellable *cancellable, BkErrorCode code)
{
  g_autofree char *out = g_build_filename (server->folder, "out", NULL);
  g_autoptr (GError) error = NULL;
  BkReader *reader = open_reader (server, NULL);
  ck_assert (!carry (reader, new_file (out, reader->size), cancellable, NULL, &error));
  bk_assert_error (error, code);
  ck_assert (!g_file_test (out, G_FILE_TEST_EXISTS));
}

START_TEST (the_server_errs)
{
  static const char *const options[] = { "error=EINVAL", "error=EIO" };
  for (size_t i = 0; i < G_N_ELEMENTS (options); i++) {
    g_autoptr (Server) server = server_start ("nbdkit", "--filter=error", "pattern", "32M", options[i], "error-pread-rate=10%", NULL);
    assert_fails (server, NULL, BK_ERROR_FAILED);
  }
  g_autoptr (Server) server = server_start ("nbdkit", "--filter=error", "sparse-random", "32M", "error=EIO", "error-extents-rate=100%", NULL);
  assert_fails (server, NULL, BK_ERROR_FAILED);
}
END_TEST

START_TEST (the_server_hangs)
{
  static const char *const delays[] = { "delay-read=40", "delay-extents=40" };
  for (size_t i = 0; i < G_N_ELEMENTS (delays); i++) {
    g_autoptr (Server) server = server_start ("nbdkit", "--filter=delay", "sparse-random", "32M", "percent=90", delays[i], NULL);
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    GThread *thread = g_thread_new ("cancel", cancel_soon, cancellable);
    gint64 begun = g_get_monotonic_time ();
    assert_fails (server, cancellable, BK_ERROR_CANCELLED);
    ck_assert_int_lt (g_get_monotonic_time () - begun, 300000 + SOON_US);
    g_thread_join (thread);
  }
}
END_TEST

static gpointer
kill_soon (gpointer process)
{
  g_usleep (300000);
  bk_process_signal (process, SIGKILL);
  return NULL;
}

START_TEST (the_server_dies)
{
  for (int shared = 0; shared < 2; shared++) {
    g_autoptr (Server) server = server_start ("nbdkit", "--filter=multi-conn", "--filter=delay", "pattern", "64M", "delay-read=100ms",
                                              shared ? "multi-conn-mode=disable" : "multi-conn-mode=auto", NULL);
    GThread *thread = g_thread_new ("kill", kill_soon, server->process);
    assert_fails (server, NULL, BK_ERROR_UNREACHABLE);
    g_thread_join (thread);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    copies_an_export, one_connection_for_all, keeps_to_the_limits_of_the_server, largest_request_by_option, all_is_data_without_extents,
    tls_with_a_shared_key, three_kinds_of_extents, content_and_changes_from_different_places, an_increment_onto_its_base,
    no_such_bitmap, a_large_fragmented_disk, nobody_there, no_such_export, cancel_while_connecting, the_server_errs, the_server_hangs,
    the_server_dies, NULL,
  };
  return bk_suite_run ("nbd-reader", tests);
}
