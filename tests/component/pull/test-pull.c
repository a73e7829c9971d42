/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a reader of a pull reads is the point in time, whatever the guest writes meanwhile; and nothing stays behind.
 */
#include "pull-fixture.h"

#include <string.h>

static const BkTestDisk two_disks[] = { { "vda", "qcow2", SIZE }, { "vdb", "raw", SIZE } };

/* --- backups in a row --- */

typedef struct {
  Fixture *f;
  uint8_t *images[2]; /* what the backups have given so far */
} Backups;

static void
work_pull (gpointer data)
{
  Backups *backups = data;
  for (unsigned i = 0; i < backups->f->run->disks->len; i++)
    pull_disk (backups->f->run, backups->f->run->disks->pdata[i], backups->images[i]);
}

static void
pull_all (Backups *backups)
{
  bk_worker_run (work_pull, backups);
}

static void
begin_backups (Backups *backups, Fixture *f)
{
  backups->f = f;
  for (unsigned i = 0; i < G_N_ELEMENTS (backups->images); i++)
    backups->images[i] = g_malloc0 (SIZE);
}

static void
end_backups (Backups *backups)
{
  for (unsigned i = 0; i < G_N_ELEMENTS (backups->images); i++)
    g_free (backups->images[i]);
}

static void
scribble (Fixture *f, uint8_t pattern, bool zero)
{
  for (unsigned i = 0; i < f->run->disks->len; i++) {
    const char *disk = ((const BkRunDisk *)f->run->disks->pdata[i])->name;
    bk_test_vm_write (f->vm, disk, pattern, 4 * MIB, 4 * MIB);
    bk_test_vm_write (f->vm, disk, (uint8_t)(pattern + 1), 17 * MIB + 512, 65536);
    if (zero)
      bk_test_vm_zero (f->vm, disk, 6 * MIB, 65536);
  }
}

/* The guest writes over what was frozen, in ways that do not keep to clusters. */
static void
spoil (Fixture *f, bool zero)
{
  for (unsigned i = 0; i < f->run->disks->len; i++) {
    const char *disk = ((const BkRunDisk *)f->run->disks->pdata[i])->name;
    bk_test_vm_write (f->vm, disk, 0xee, 3 * MIB + 4096, 3 * MIB);
    bk_test_vm_write (f->vm, disk, 0xef, SIZE - 512, 512);
    if (zero)
      bk_test_vm_zero (f->vm, disk, 7 * MIB, MIB);
  }
}

/* The newest records, and its parent no longer. */
static void
assert_recording (Fixture *f)
{
  must (f, work_inspect);
  for (unsigned i = 0; i < f->run->disks->len; i++) {
    const BkRunDisk *planned = f->run->disks->pdata[i];
    const BkBitmap *newest = bk_disk_find_bitmap (f->state->disks->pdata[i], planned->bitmap);
    const BkBitmap *parent = planned->parent_bitmap ? bk_disk_find_bitmap (f->state->disks->pdata[i], planned->parent_bitmap) : NULL;
    ck_assert (newest && newest->recording && !newest->busy);
    ck_assert (planned->parent_bitmap == NULL || (parent && !parent->recording && !parent->busy));
  }
}

static void
back_up (Backups *backups, unsigned number, const char *base, bool zero)
{
  Fixture *f = backups->f;
  g_clear_pointer (&f->run, bk_run_free);
  f->run = new_run (f, number, 0, 2, base);
  scribble (f, (uint8_t)(10 * number), zero);
  must (f, work_snapshot);
  g_autofree uint8_t *expected[2] = { bk_test_vm_content (f->vm, "vda"), NULL };
  g_autofree uint8_t *second = bk_test_vm_content (f->vm, "vdb");
  expected[1] = second;
  spoil (f, zero);
  must (f, work_export);
  ck_assert (g_str_has_prefix (f->run->nbd_address, "unix:/") && f->run->nbd_tls == NULL);
  spoil (f, zero);
  pull_all (backups);
  must (f, work_check);
  for (unsigned i = 0; i < 2; i++) {
    const BkRunDisk *disk = f->run->disks->pdata[i];
    ck_assert_str_eq (disk->state, "running");
    assert_same (backups->images[i], expected[i], SIZE, disk->name);
  }
  must (f, work_release);
  must (f, work_release);
  assert_clean (f);
  assert_recording (f);
}

static void
full_and_increments (const BkTestDisk *disks, bool zero)
{
  Fixture f;
  Backups backups;
  set_up (&f, disks, 2);
  begin_backups (&backups, &f);
  back_up (&backups, 1, NULL, zero);
  back_up (&backups, 2, "bkd-0a1b2c-cp-1", zero);
  back_up (&backups, 3, "bkd-0a1b2c-cp-2", zero);
  /* Differential: since the first. */
  back_up (&backups, 4, "bkd-0a1b2c-cp-1,bkd-0a1b2c-cp-2,bkd-0a1b2c-cp-3", zero);
  end_backups (&backups);
  tear_down (&f);
}

START_TEST (pulls_full_and_increments)
{
  full_and_increments (two_disks, true);
}
END_TEST

START_TEST (pulls_disks_of_other_kinds)
{
  static const BkTestDisk disks[] = { { "vda", "qcow2", SIZE, .drive = true }, { "vdb", "qcow2", SIZE, .throttle = true } };
  full_and_increments (disks, true);
}
END_TEST

/* --- undo --- */

START_TEST (gives_dirty_bits_back)
{
  Fixture f;
  Backups backups;
  set_up (&f, two_disks, 2);
  begin_backups (&backups, &f);
  back_up (&backups, 1, NULL, true);
  for (unsigned steps = 0; steps < 2; steps++) {
    bk_run_free (f.run);
    f.run = new_run (&f, 90 + steps, 0, 2, "bkd-0a1b2c-cp-1");
    scribble (&f, (uint8_t)(100 + steps), true);
    must (&f, work_snapshot);
    if (steps > 0)
      must (&f, work_export);
    bk_test_vm_write (f.vm, "vda", 0x77, 20 * MIB, MIB);
    must (&f, work_release);
    must (&f, work_rollback);
    must (&f, work_rollback);
    assert_clean (&f);
  }
  back_up (&backups, 2, "bkd-0a1b2c-cp-1", true);
  end_backups (&backups);
  tear_down (&f);
}
END_TEST

/* --- under load --- */

typedef struct {
  Fixture *f;
  uint8_t *expected;
  gint stop;
  unsigned seed;
  unsigned reads, statuses;
} Load;

/* Requests that are under way together: aio_write returns before it is done. */
static void
guest (gpointer data)
{
  Load *load = data;
  g_autoptr (GRand) rand = g_rand_new_with_seed (load->seed);
  while (!g_atomic_int_get (&load->stop)) {
    guint64 length = 512 * (guint64)g_rand_int_range (rand, 1, 1200);
    guint64 offset = 512 * (guint64)g_rand_int_range (rand, 0, (gint32)((SIZE - length) / 512));
    static const char *const verbs[] = { "aio_write -P 238", "aio_write -P 17", "aio_write -z -u", "discard" };
    g_autofree char *command = g_strdup_printf (
        "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":"
        "\"qemu-io -d /machine/peripheral/vda/virtio-backend \\\"%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\\\"\"}}",
        verbs[g_rand_int_range (rand, 0, G_N_ELEMENTS (verbs))], offset, length);
    g_free (bk_test_vm_execute (load->f->vm, command));
  }
}

static bool
is_zero (const uint8_t *data, uint64_t size)
{
  return size == 0 || (data[0] == 0 && memcmp (data, data + 1, size - 1) == 0);
}

/* A zero that is none. */
static int
check_zeroes (void *data, const char *context G_GNUC_UNUSED, uint64_t offset, uint32_t *entries, size_t n, int *error G_GNUC_UNUSED)
{
  const Load *load = data;
  for (size_t i = 0; i < n; offset += entries[i], i += 2)
    ck_assert_msg (!(entries[i + 1] & LIBNBD_STATE_ZERO) || is_zero (load->expected + offset, entries[i]),
                   "%u bytes at %" PRIu64 " are told to be zero, and are not", entries[i], offset);
  return 0;
}

static void
reader (gpointer data)
{
  Load *load = data;
  static const uint64_t lengths[] = { 512, 4096, 65536, 256 * 1024, 2 * MIB, 16 * MIB };
  const BkRunDisk *disk = load->f->run->disks->pdata[0];
  g_autoptr (GRand) rand = g_rand_new_with_seed (load->seed);
  g_autoptr (NbdHandle) nbd = connect_nbd (load->f->run->nbd_address, disk->export_name, LIBNBD_CONTEXT_BASE_ALLOCATION);
  g_autofree uint8_t *buffer = g_malloc (16 * MIB);
  while (!g_atomic_int_get (&load->stop)) {
    uint64_t length = lengths[g_rand_int_range (rand, 0, G_N_ELEMENTS (lengths))];
    uint64_t offset = 512 * (uint64_t)g_rand_int_range (rand, 0, (gint32)((SIZE - length) / 512));
    nbd_extent_callback callback = { .callback = check_zeroes, .user_data = load };
    if (g_rand_boolean (rand)) {
      ck_assert_int_eq (nbd_block_status (nbd, length, offset, callback, 0), 0);
      load->statuses++;
    } else {
      ck_assert_int_eq (nbd_pread (nbd, buffer, length, offset, 0), 0);
      assert_same (buffer, load->expected + offset, length, "under load");
      load->reads++;
    }
  }
  nbd_shutdown (nbd, 0);
}

#define READERS 3

static void
read_under_load (const BkTestDisk *disk, unsigned seconds)
{
  Fixture f;
  Load loads[READERS + 1];
  BkWorker *workers[READERS + 1];
  set_up (&f, disk, 1);
  f.run = new_run (&f, 1, 0, 1, NULL);
  for (unsigned i = 0; i < 24; i++)
    bk_test_vm_write (f.vm, "vda", (uint8_t)(i + 1), (i * 5 + 1) * MIB / 4 + 512 * i, MIB + 512);
  must (&f, work_snapshot);
  must (&f, work_export);
  g_autofree uint8_t *expected = bk_test_vm_content (f.vm, "vda");
  for (unsigned i = 0; i <= READERS; i++) {
    loads[i] = (Load){ .f = &f, .expected = expected, .seed = i };
    workers[i] = bk_worker_start (i < READERS ? reader : guest, &loads[i]);
  }
  for (int64_t end = g_get_monotonic_time () + seconds * G_USEC_PER_SEC; g_get_monotonic_time () < end;)
    must (&f, work_check);
  /* The readers first, so that the guest writes to the end of them. */
  for (unsigned i = 0; i <= READERS; i++) {
    g_atomic_int_set (&loads[i].stop, 1);
    bk_worker_wait (workers[i]);
    ck_assert (i == READERS || (loads[i].reads > 0 && loads[i].statuses > 0));
  }
  must (&f, work_check);
  ck_assert_str_eq (((BkRunDisk *)f.run->disks->pdata[0])->state, "running");
  must (&f, work_release);
  assert_clean (&f);
  tear_down (&f);
}

START_TEST (reads_the_point_in_time_under_load)
{
  static const BkTestDisk qcow2 = { "vda", "qcow2", SIZE }, raw = { "vda", "raw", SIZE };
  read_under_load (&qcow2, 3);
  read_under_load (&raw, 3);
}
END_TEST

/* --- disks in iothreads --- */

START_TEST (pulls_disks_in_iothreads)
{
  static const BkTestDisk disks[] = { { "vda", "qcow2", SIZE, .iothread = true }, { "vdb", "raw", SIZE, .iothread = true } };
  full_and_increments (disks, false);
}
END_TEST

/* One of each kind: the export of the one is no danger to the other. */
START_TEST (pulls_disks_in_iothreads_beside_others)
{
  static const BkTestDisk disks[] = { { "vda", "qcow2", SIZE, .iothread = true }, { "vdb", "qcow2", SIZE } };
  Fixture f;
  Backups backups;
  set_up (&f, disks, 2);
  begin_backups (&backups, &f);
  back_up (&backups, 1, NULL, false);
  back_up (&backups, 2, "bkd-0a1b2c-cp-1", false);
  const BkRunDisk *first = f.run->disks->pdata[0], *second = f.run->disks->pdata[1];
  ck_assert (first->frozen_path && first->map_export && !first->export_name);
  ck_assert (!second->frozen_path && !second->map_export && second->export_name);
  assert_vm_lives (&f);
  end_backups (&backups);
  tear_down (&f);
}
END_TEST

START_TEST (pulls_disks_of_controllers_in_iothreads)
{
  static const BkTestDisk disks[] = { { "vda", "qcow2", SIZE, .iothread = true, .scsi = true }, { "vdb", "qcow2", SIZE, .scsi = true } };
  full_and_increments (disks, false);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { pulls_full_and_increments, pulls_disks_of_other_kinds,
                                 gives_dirty_bits_back,     reads_the_point_in_time_under_load,
                                 pulls_disks_in_iothreads,  pulls_disks_in_iothreads_beside_others,
                                 pulls_disks_of_controllers_in_iothreads,
                                 NULL };
  return run_tests ("pull", tests);
}
