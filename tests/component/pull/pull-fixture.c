/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pull-fixture.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

/* --- VM and daemon --- */

static void
keep_record (json_object *recorded, gpointer data)
{
  Fixture *f = data;
  g_clear_pointer (&f->recorded, json_object_put);
  f->recorded = json_object_get (recorded);
}

static void
connect_backend (Fixture *f)
{
  f->backend = bk_qmp_backend_new (bk_test_vm_qmp (f->vm));
  if (f->offline)
    f->backend = bk_offline_backend_new (f->backend, f->exports, f->recorded, keep_record, f);
  bk_backend_connect (f->backend);
}

static void
disconnect_backend (Fixture *f)
{
  bk_backend_disconnect (f->backend);
  bk_backend_free (f->backend);
}

static void
set_up_as (Fixture *f, const BkTestDisk *disks, unsigned n, bool offline)
{
  memset (f, 0, sizeof *f);
  f->offline = offline;
  f->folder = bk_suite_folder ();
  f->exports = g_build_filename (f->folder, "exports", NULL);
  f->vm = bk_test_vm_start (f->folder, disks, n);
  wait_for_iothreads (f, disks, n);
  connect_backend (f);
}

void
set_up (Fixture *f, const BkTestDisk *disks, unsigned n)
{
  set_up_as (f, disks, n, false);
}

void
set_up_offline (Fixture *f, const BkTestDisk *disks, unsigned n)
{
  set_up_as (f, disks, n, true);
}

static bool
has_export (Fixture *f)
{
  g_autofree char *exports = bk_test_vm_execute (f->vm, "{\"execute\":\"query-block-exports\"}");
  return strstr (exports, "\"trial\"") != NULL;
}

/* QEMU tells by nothing else where a disk is. */
static void
wait_for_iothread (Fixture *f, const char *disk)
{
  g_autofree char *path = g_build_filename (f->folder, "trial", NULL);
  g_autofree char *add = g_strdup_printf ("{\"execute\":\"block-export-add\",\"arguments\":{\"type\":\"fuse\",\"id\":\"trial\",\"node-name\":\"%s\","
                                          "\"mountpoint\":\"%s\",\"iothread\":\"%s-io\",\"fixed-iothread\":true}}", disk, path, disk);
  ck_assert (g_file_set_contents (path, "", 0, NULL));
  for (unsigned i = 0; i < 600 && !has_export (f); i++) {
    g_free (bk_test_vm_execute (f->vm, add));
    g_usleep (50000);
  }
  ck_assert_msg (has_export (f), "the firmware does not use disk %s", disk);
  g_free (bk_test_vm_execute (f->vm, "{\"execute\":\"block-export-del\",\"arguments\":{\"id\":\"trial\",\"mode\":\"hard\"}}"));
  while (has_export (f))
    g_usleep (10000);
}

void
wait_for_iothreads (Fixture *f, const BkTestDisk *disks, unsigned n)
{
  for (unsigned i = 0; i < n; i++)
    if (disks[i].iothread)
      wait_for_iothread (f, disks[i].name);
}

void
tear_down (Fixture *f)
{
  disconnect_backend (f);
  bk_vm_state_free (f->state);
  bk_test_vm_free (f->vm);
  g_clear_pointer (&f->run, bk_run_free);
  g_clear_error (&f->error);
  g_clear_pointer (&f->recorded, json_object_put);
  g_free (f->exports);
  g_free (f->folder);
}

void
restart_daemon (Fixture *f)
{
  g_autoptr (json_object) json = bk_struct_to_json (&bk_run_struct, f->run);
  bk_run_free (f->run);
  f->run = bk_struct_from_json (&bk_run_struct, json, &f->error);
  bk_assert_no_error (f->error);
  disconnect_backend (f);
  connect_backend (f);
}

/* --- runs --- */

void
work_inspect (gpointer data)
{
  Fixture *f = data;
  bk_vm_state_free (f->state);
  f->state = bk_backend_inspect (f->backend, NULL, &f->error);
  f->ok = f->state != NULL;
}

static BkRunDisk *
new_disk (const BkDisk *disk, unsigned index, unsigned number, const char *base, bool offline)
{
  bool tracks = !offline || disk->can_persist;
  BkRunDisk *planned = g_new0 (BkRunDisk, 1);
  planned->index = index;
  planned->name = g_strdup (disk->name);
  planned->qdev = g_strdup (disk->qdev);
  planned->root = g_strdup (disk->root);
  planned->node = g_strdup (disk->node);
  planned->format = g_strdup (disk->format);
  planned->path = offline ? g_strdup (disk->path) : NULL;
  planned->size = disk->size;
  base = tracks ? base : NULL;
  planned->sync = g_strdup (base ? "bitmap" : "full");
  planned->checkpoint = tracks;
  planned->bitmap = tracks ? g_strdup_printf ("bkd-0a1b2c-cp-%u", number) : NULL;
  planned->parent_bitmap = base ? g_strdup (strrchr (base, ',') ? strrchr (base, ',') + 1 : base) : NULL;
  planned->base_bitmaps = base ? g_strsplit (base, ",", -1) : NULL;
  planned->persistent = disk->can_persist;
  planned->state = g_strdup ("planned");
  return planned;
}

BkRun *
new_run (Fixture *f, unsigned number, unsigned first, unsigned n, const char *base)
{
  must (f, work_inspect);
  ck_assert (f->state->pull);
  BkRun *run = g_new0 (BkRun, 1);
  run->prefix = g_strdup_printf ("bkd-0a1b2c-%u", number);
  run->mode = g_strdup ("pull");
  run->scratch = g_strdup (f->folder);
  run->export_folder = g_strdup (f->exports);
  run->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < n; i++)
    g_ptr_array_add (run->disks, new_disk (f->state->disks->pdata[first + i], i, number, base, f->state->offline));
  run->offline = f->state->offline;
  return run;
}

void
work_snapshot (gpointer data)
{
  Fixture *f = data;
  f->ok = bk_backend_prepare (f->backend, f->run, NULL, &f->error) && bk_backend_snapshot (f->backend, f->run, NULL, &f->error);
}

void
work_export (gpointer data)
{
  Fixture *f = data;
  f->ok = bk_backend_export (f->backend, f->run, NULL, &f->error);
}

void
work_check (gpointer data)
{
  Fixture *f = data;
  f->ok = bk_backend_check_frozen (f->backend, f->run, &f->error);
}

void
work_release (gpointer data)
{
  Fixture *f = data;
  f->ok = bk_backend_release (f->backend, f->run, &f->error);
}

void
work_rollback (gpointer data)
{
  Fixture *f = data;
  f->ok = bk_backend_rollback (f->backend, f->run, true, &f->error);
}

void
must (Fixture *f, void (*work) (gpointer data))
{
  bk_worker_run (work, f);
  bk_assert_no_error (f->error);
  ck_assert (f->ok);
}

void
must_fail (Fixture *f, void (*work) (gpointer data), BkErrorCode code, const char *text)
{
  bk_worker_run (work, f);
  ck_assert (!f->ok && f->error != NULL);
  ck_assert_msg (strstr (f->error->message, text) != NULL, "%s", f->error->message);
  bk_assert_error (f->error, code);
}

/* --- scratch --- */

bool
mount_small (Fixture *f)
{
  g_autofree char *folder = g_build_filename (f->folder, "small", NULL);
  ck_assert_int_eq (g_mkdir_with_parents (folder, 0700), 0);
  if (mount ("none", folder, "tmpfs", 0, "size=4M") < 0) {
    fprintf (stderr, "skipped: cannot mount a tmpfs: %s\n", g_strerror (errno));
    return false;
  }
  g_free (f->run->scratch);
  f->run->scratch = g_steal_pointer (&folder);
  return true;
}

void
unmount_small (Fixture *f)
{
  ck_assert_int_eq (umount (f->run->scratch), 0);
}

/* --- the reader --- */

NbdHandle *
connect_nbd (const char *address, const char *export, const char *context)
{
  NbdHandle *nbd = nbd_create ();
  ck_assert_int_eq (nbd_set_export_name (nbd, export), 0);
  ck_assert (context == NULL || nbd_add_meta_context (nbd, context) == 0);
  int result = -1;
  if (g_str_has_prefix (address, "unix:")) {
    result = nbd_connect_unix (nbd, address + 5);
  } else {
    g_auto (GStrv) parts = g_strsplit (address, ":", 3);
    result = nbd_connect_tcp (nbd, parts[1], parts[2]);
  }
  ck_assert_msg (result == 0, "%s, export %s: %s", address, export, nbd_get_error ());
  return nbd;
}

/* One NBD_CMD_READ after the other, past libnbd, which would take the replies. */
NbdHandle *
stalled_reader (const char *address, const char *export)
{
  NbdHandle *nbd = connect_nbd (address, export, NULL);
  for (uint64_t i = 0; i < 16; i++) {
    struct {
      uint32_t magic;
      uint16_t flags, type;
      uint64_t cookie, offset;
      uint32_t length;
    } __attribute__ ((packed)) request = { GUINT32_TO_BE (0x25609513), 0, 0, i, GUINT64_TO_BE (i * 2 * MIB), GUINT32_TO_BE (2 * MIB) };
    ck_assert_int_eq (write (nbd_aio_get_fd (nbd), &request, sizeof request), sizeof request);
  }
  g_usleep (G_USEC_PER_SEC / 2); /* until the socket is full */
  return nbd;
}

/* What a walk over the extents is for. */
typedef struct {
  uint8_t *image;
  uint8_t *flags; /* by sector: what the extents tell */
  uint64_t next;  /* they have been told up to here */
  NbdHandle *reader;
  int file;
  bool zeroes; /* the extents tell of zeroes, and not of changes */
} Walk;

static void
read_range (const Walk *walk, uint64_t offset, uint64_t length)
{
  uint64_t step = 3 * MIB + 512; /* so that requests do not begin and end with clusters */
  for (uint64_t done = 0; done < length; done += step) {
    uint64_t n = MIN (step, length - done);
    int result = walk->reader ? nbd_pread (walk->reader, walk->image + offset + done, n, offset + done, 0)
                              : -(pread (walk->file, walk->image + offset + done, n, (off_t)(offset + done)) != (ssize_t)n);
    ck_assert_msg (result == 0, "cannot read %" PRIu64 " bytes at %" PRIu64 ": %s", n, offset + done, walk->reader ? nbd_get_error () : "file");
  }
}

static int
take_extents (void *data, const char *context G_GNUC_UNUSED, uint64_t offset, uint32_t *entries, size_t n, int *error G_GNUC_UNUSED)
{
  Walk *walk = data;
  for (size_t i = 0; i < n; i += 2) {
    uint64_t length = entries[i];
    bool set = walk->zeroes ? (entries[i + 1] & LIBNBD_STATE_ZERO) != 0 : (entries[i + 1] & 1) != 0;
    memset (walk->flags + offset / 512, set, length / 512);
    offset += length;
  }
  walk->next = offset;
  return 0;
}

/* A server may answer for less than was asked. */
static void
ask_all (NbdHandle *nbd, Walk *walk, uint64_t size)
{
  while (walk->next < size) {
    uint64_t before = walk->next;
    nbd_extent_callback callback = { .callback = take_extents, .user_data = walk };
    ck_assert_msg (nbd_block_status (nbd, size - before, before, callback, 0) == 0, "%s", nbd_get_error ());
    ck_assert_uint_gt (walk->next, before);
  }
}

static bool
is_zero (const uint8_t *data, uint64_t size)
{
  return size == 0 || (data[0] == 0 && memcmp (data, data + 1, size - 1) == 0);
}

/* Sets in @flags what @context of @export says, by sector. */
static void
read_flags (const BkRun *run, const char *export, const char *context, bool zeroes, uint8_t *flags, uint64_t size)
{
  g_autoptr (NbdHandle) nbd = connect_nbd (run->nbd_address, export, context);
  Walk walk = { .flags = flags, .zeroes = zeroes };
  ask_all (nbd, &walk, size);
  nbd_shutdown (nbd, 0);
}

void
pull_disk (const BkRun *run, const BkRunDisk *disk, uint8_t *image)
{
  g_autofree uint8_t *wanted = g_malloc (disk->size / 512 + 1);
  g_autofree uint8_t *zero = g_malloc0 (disk->size / 512 + 1);
  memset (wanted, 1, disk->size / 512 + 1);
  if (disk->dirty_context)
    read_flags (run, disk->map_export ? disk->map_export : disk->export_name, disk->dirty_context, false, wanted, disk->size);
  if (disk->export_name)
    read_flags (run, disk->export_name, LIBNBD_CONTEXT_BASE_ALLOCATION, true, zero, disk->size);
  g_autoptr (NbdHandle) reader = disk->export_name ? connect_nbd (run->nbd_address, disk->export_name, NULL) : NULL;
  Walk walk = { .image = image, .reader = reader, .file = disk->frozen_path ? open (disk->frozen_path, O_RDONLY | O_CLOEXEC) : -1 };
  for (uint64_t sector = 0, end = 0; sector < disk->size / 512; sector = end) {
    for (end = sector + 1; end < disk->size / 512 && wanted[end] == wanted[sector]; end++)
      ;
    if (wanted[sector])
      read_range (&walk, sector * 512, (end - sector) * 512);
  }
  for (uint64_t sector = 0; sector < disk->size / 512; sector++)
    ck_assert_msg (!wanted[sector] || !zero[sector] || is_zero (image + sector * 512, 512), "%s: sector %" PRIu64 " is told to be zero, and is not",
                   disk->name, sector);
  if (walk.file >= 0)
    close (walk.file);
  if (reader)
    nbd_shutdown (reader, 0);
}

/* --- assertions --- */

void
assert_same (const uint8_t *image, const uint8_t *expected, uint64_t size, const char *what)
{
  if (memcmp (image, expected, size) == 0)
    return;
  uint64_t i = 0;
  while (image[i] == expected[i])
    i++;
  ck_abort_msg ("%s: byte %" PRIu64 " is %02x, not %02x", what, i, image[i], expected[i]);
}

void
assert_vm_lives (Fixture *f)
{
  g_autofree char *status = bk_test_vm_execute (f->vm, "{\"execute\":\"query-status\"}");
  ck_assert_msg (strstr (status, "\"running\": true") != NULL, "%s", status);
}

void
assert_clean (Fixture *f)
{
  bk_test_vm_assert_clean (f->vm);
  g_autofree char *exports = bk_test_vm_execute (f->vm, "{\"execute\":\"query-block-exports\"}");
  ck_assert_msg (strstr (exports, "\"bkd-") == NULL, "left behind: %s", exports);
  g_autofree char *server = bk_test_vm_execute (f->vm, "{\"execute\":\"nbd-server-stop\"}");
  ck_assert_msg (strstr (server, "not running") != NULL, "the NBD server was left running: %s", server);
  g_autoptr (GDir) folder = g_dir_open (f->exports, 0, NULL);
  const char *name = folder ? g_dir_read_name (folder) : NULL;
  ck_assert_msg (name == NULL, "left in the export folder: %s", name);
}

/* --- the end --- */

static void
end_gateway (const char *pid, const char *folder)
{
  g_autofree char *path = g_strdup_printf ("/proc/%s/cmdline", pid);
  g_autofree char *line = NULL;
  gsize length = 0;
  if (!g_file_get_contents (path, &line, &length, NULL) || !g_str_has_prefix (line, "qemu-storage-daemon"))
    return;
  for (const char *word = line; word < line + length; word += strlen (word) + 1)
    if (g_str_has_prefix (word, folder))
      kill ((pid_t)atoi (pid), SIGKILL);
}

static void
end_gateways (const char *folder)
{
  g_autoptr (GDir) proc = g_dir_open ("/proc", 0, NULL);
  for (const char *name = g_dir_read_name (proc); name != NULL; name = g_dir_read_name (proc))
    if (g_ascii_isdigit (*name))
      end_gateway (name, folder);
}

static void
end_mounts (const char *folder)
{
  g_autofree char *mounts = NULL;
  g_assert_true (g_file_get_contents ("/proc/self/mounts", &mounts, NULL, NULL));
  g_auto (GStrv) lines = g_strsplit (mounts, "\n", -1);
  for (size_t i = 0; lines[i]; i++) {
    g_auto (GStrv) words = g_strsplit (lines[i], " ", 3);
    if (words[0] && words[1] && g_str_has_prefix (words[1], folder))
      umount2 (words[1], MNT_DETACH | UMOUNT_NOFOLLOW);
  }
}

/* A test that fails leaves the middle of it: processes that are meant to outlive the daemon, and mounts. */
int
run_tests (const char *name, const TTest *const *tests)
{
  char folder[] = "/tmp/bk-pull-XXXXXX";
  g_assert_nonnull (mkdtemp (folder));
  g_setenv ("TMPDIR", folder, TRUE);
  int result = bk_suite_run (name, tests);
  end_gateways (folder);
  end_mounts (folder);
  char *rm[] = { (char *)"rm", (char *)"-rf", folder, NULL };
  g_spawn_sync (NULL, rm, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
  return result;
}
