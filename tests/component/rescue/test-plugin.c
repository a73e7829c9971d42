/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"
#include "rescue-scene.h"

#include <string.h>

static BkProcess *server;
static char *uri, *socket_path;

static GPtrArray *
server_command (const char *disk)
{
  GPtrArray *argv = g_ptr_array_new_with_free_func (g_free);
  const char *const fixed[] = { "nbdkit", "--foreground", "--exit-with-parent", "--read-only", "--unix", socket_path,
                                g_getenv ("BACKUPD_NBDKIT_PLUGIN"), scene_root, "backup=" BACKUP };
  for (size_t i = 0; i < G_N_ELEMENTS (fixed); i++)
    g_ptr_array_add (argv, g_strdup (fixed[i]));
  g_ptr_array_add (argv, g_strconcat ("disk=", disk, NULL));
  g_ptr_array_add (argv, NULL);
  return argv;
}

static void
serve (void)
{
  g_autoptr (GPtrArray) argv = server_command ("vda");
  server = bk_process_start_listening ((const char *const *)argv->pdata, socket_path);
}

static void
start (void)
{
  rescue_start (NULL);
  socket_path = rescue_path ("socket");
  uri = g_strdup_printf ("nbd+unix:///?socket=%s", socket_path);
}

static void
stop (void)
{
  g_clear_pointer (&server, bk_process_free);
  g_clear_pointer (&uri, g_free);
  g_clear_pointer (&socket_path, g_free);
  rescue_stop ();
}

static int
copy (const char *to, const char *connections)
{
  g_autofree char *option = g_strconcat ("--connections=", connections, NULL);
  const char *const argv[] = { "nbdcopy", option, uri, to, NULL };
  return rescue_run (argv, NULL, NULL);
}

START_TEST (serves_what_was_backed_up)
{
  start ();
  serve ();
  g_autofree char *by_nbdcopy = rescue_path ("a.raw"), *by_qemu = rescue_path ("b.raw");
  const char *const convert[] = { "qemu-img", "convert", "-f", "raw", "-O", "raw", uri, by_qemu, NULL };
  ck_assert_int_eq (copy (by_nbdcopy, "4"), 0);
  rescue_check_file (by_nbdcopy, 0, rescue_disk, SIZE);
  ck_assert_int_eq (rescue_run (convert, NULL, NULL), 0);
  rescue_check_file (by_qemu, 0, rescue_disk, SIZE);
  stop ();
}
END_TEST

START_TEST (tells_zeroes_and_forbids_writes)
{
  start ();
  serve ();
  g_autofree char *map = NULL, *info = NULL;
  const char *const ask_map[] = { "nbdinfo", "--map", "--totals", uri, NULL }, *const ask_info[] = { "nbdinfo", uri, NULL };
  uint64_t zero = 0;
  for (size_t at = 0; at < SIZE; at += CHUNK) {
    size_t length = MIN (CHUNK, SIZE - at);
    zero += rescue_disk[at] == 0 && memcmp (rescue_disk + at, rescue_disk + at + 1, length - 1) == 0 ? length : 0;
  }
  g_autofree char *wanted = g_strdup_printf ("%" G_GUINT64_FORMAT " ", zero);
  ck_assert_int_eq (rescue_run (ask_map, &map, NULL), 0);
  ck_assert_msg (zero == 0 || strstr (map, wanted) != NULL, "%s is not in: %s", wanted, map);
  ck_assert_int_eq (rescue_run (ask_info, &info, NULL), 0);
  ck_assert_msg (strstr (info, "is_read_only: true") && strstr (info, "can_multi_conn: true"), "%s", info);
  stop ();
}
END_TEST

typedef struct {
  uint64_t seed;
  int status;
} Reader;

/* Small reads of one client, checked by their sums. */
static gpointer
read_randomly (gpointer data)
{
  Reader *reader = data;
  g_autoptr (GRand) rand = g_rand_new_with_seed ((guint32)reader->seed);
  g_autoptr (GString) checks = g_string_new (NULL);
  for (unsigned i = 0; i < 200; i++) {
    unsigned length = (unsigned)g_rand_int_range (rand, 1, 5000), offset = (unsigned)g_rand_int_range (rand, 0, (int)(SIZE - length));
    g_autofree char *sum = g_compute_checksum_for_data (G_CHECKSUM_SHA256, rescue_disk + offset, length);
    g_string_append_printf (checks, "%u %u %s\n", length, offset, sum);
  }
  g_autofree char *program = g_strdup_printf ("import hashlib, nbd\nh = nbd.NBD()\nh.connect_uri('%s')\n"
                                              "for line in '''%s'''.splitlines():\n"
                                              "    length, offset, wanted = line.split()\n"
                                              "    assert hashlib.sha256(h.pread(int(length), int(offset))).hexdigest() == wanted, line\n",
                                              uri, checks->str);
  const char *const argv[] = { "/usr/bin/python3", "-c", program, NULL };
  reader->status = rescue_run (argv, NULL, NULL);
  return NULL;
}

START_TEST (many_small_reads_at_once)
{
  start ();
  serve ();
  Reader readers[4] = { 0 };
  GThread *threads[4];
  for (unsigned i = 0; i < G_N_ELEMENTS (readers); i++) {
    readers[i].seed = i + 1;
    threads[i] = g_thread_new ("reader", read_randomly, &readers[i]);
  }
  for (unsigned i = 0; i < G_N_ELEMENTS (readers); i++)
    g_thread_join (threads[i]);
  for (unsigned i = 0; i < G_N_ELEMENTS (readers); i++)
    ck_assert_int_eq (readers[i].status, 0);
  stop ();
}
END_TEST

static int
read_part (uint64_t offset, size_t length)
{
  g_autofree char *command = g_strdup_printf ("read %" G_GUINT64_FORMAT " %zu", offset, length);
  const char *const argv[] = { "qemu-io", "-r", "-f", "raw", "-c", command, uri, NULL };
  g_autofree char *out = NULL, *err = NULL;
  return rescue_run (argv, &out, &err);
}

START_TEST (fails_only_where_it_is_damaged)
{
  start ();
  const uint64_t bad = rescue_find_random ();
  rescue_spoil_chunk (bad);
  serve ();
  ck_assert_int_eq (read_part (0, bad), 0);
  ck_assert_int_ne (read_part (bad + 4096, 512), 0);
  ck_assert_int_eq (read_part (bad + CHUNK, SIZE - 512 - bad - CHUNK), 0);
  ck_assert_int_ne (read_part (bad, 512), 0);
  stop ();
}
END_TEST

START_TEST (says_which_disks_there_are)
{
  start ();
  g_autofree char *err = NULL;
  g_autoptr (GPtrArray) argv = server_command ("vdx");
  ck_assert_int_ne (rescue_run ((const char *const *)argv->pdata, NULL, &err), 0);
  ck_assert_msg (strstr (err, "has no disk 'vdx'; it has vda") != NULL, "%s", err);
  stop ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    serves_what_was_backed_up, tells_zeroes_and_forbids_writes, many_small_reads_at_once, fails_only_where_it_is_damaged, says_which_disks_there_are, NULL,
  };
  return bk_suite_run ("plugin", tests);
}
