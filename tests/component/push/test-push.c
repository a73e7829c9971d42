/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The QMP backend's push on a real QEMU, step by step, without the job layer: contents are those of the point
 * in time, whatever is written meanwhile, and nothing stays behind.
 */
#include "backend.h"
#include "suite.h"
#include "vm.h"
#include "worker.h"

#include "process.h"

#include <string.h>
#include <sys/stat.h>

#define MIB (1ull << 20)
#define SIZE (32 * MIB)

static const BkTestDisk two_disks[] = { { "vda", "qcow2", SIZE }, { "vdb", "qcow2", SIZE } };

typedef struct {
  char *folder;
  BkTestVm *vm;
  BkBackend *backend;
  BkRun *run;
  GError *error;
  gboolean ok;
  bool done;
} Fixture;

static void
set_up (Fixture *f, const BkTestDisk *disks, unsigned n)
{
  memset (f, 0, sizeof *f);
  f->folder = bk_suite_folder ();
  f->vm = bk_test_vm_start (f->folder, disks, n);
  f->backend = bk_qmp_backend_new (bk_test_vm_qmp (f->vm));
  bk_backend_connect (f->backend);
}

static void
tear_down (Fixture *f)
{
  bk_backend_disconnect (f->backend);
  bk_backend_free (f->backend);
  bk_test_vm_free (f->vm);
  g_clear_error (&f->error);
  g_free (f->folder);
}

static BkRunDisk *
new_disk (Fixture *f, unsigned index, unsigned number, const char *base)
{
  BkRunDisk *disk = g_new0 (BkRunDisk, 1);
  disk->index = index;
  disk->name = g_strdup (index ? "vdb" : "vda");
  disk->qdev = g_strdup_printf ("/machine/peripheral/%s/virtio-backend", disk->name);
  disk->root = g_strdup (disk->name);
  disk->node = g_strdup (disk->name);
  disk->format = g_strdup ("qcow2");
  disk->size = SIZE;
  disk->level = g_strdup (base ? "incremental" : "full");
  disk->sync = g_strdup (base ? "bitmap" : "full");
  disk->checkpoint = true;
  disk->bitmap = g_strdup_printf ("bkd-0a1b2c-cp-%u", number);
  disk->parent_bitmap = g_strdup (base);
  disk->base_bitmaps = base ? g_strsplit (base, ",", -1) : NULL;
  disk->persistent = true;
  disk->target_driver = g_strdup ("file");
  disk->target_format = g_strdup ("qcow2");
  disk->target = g_strdup_printf ("%s/%s-%u.qcow2", f->folder, disk->name, number);
  disk->state = g_strdup ("planned");
  return disk;
}

static void
make_target (const BkRunDisk *disk, const char *backing)
{
  g_autofree char *size = g_strdup_printf ("%llu", SIZE);
  const char *const full[] = { "qemu-img", "create", "-q", "-f", "qcow2", disk->target, size, NULL };
  const char *const inc[] = { "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "qcow2", disk->target, size, NULL };
  bk_process_run (backing ? inc : full);
}

static BkRun *
new_run (Fixture *f, const char *mode, unsigned number, unsigned n, const char *base)
{
  BkRun *run = g_new0 (BkRun, 1);
  run->prefix = g_strdup_printf ("bkd-0a1b2c-%u", number);
  run->mode = g_strdup (mode);
  run->scratch = g_strdup (f->folder);
  run->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < n; i++) {
    BkRunDisk *disk = new_disk (f, i, number, base);
    g_autofree char *backing = base ? g_strdup_printf ("%s-%u.qcow2", disk->name, number - 1) : NULL;
    g_ptr_array_add (run->disks, disk);
    make_target (disk, backing);
  }
  return run;
}

static void
work_snapshot (gpointer data)
{
  Fixture *f = data;
  f->ok = bk_backend_prepare (f->backend, f->run, NULL, &f->error) && bk_backend_snapshot (f->backend, f->run, NULL, &f->error);
}

static void
work_start (gpointer data)
{
  Fixture *f = data;
  f->ok = bk_backend_start (f->backend, f->run, NULL, &f->error);
}

static void
work_rest (gpointer data)
{
  Fixture *f = data;
  do
    f->ok = bk_backend_wait (f->backend, f->run, 500, &f->done, NULL, &f->error);
  while (f->ok && !f->done);
  f->ok = f->ok && bk_backend_close (f->backend, f->run, &f->error) && bk_backend_release (f->backend, f->run, &f->error);
}

static void
work_undo (gpointer data)
{
  Fixture *f = data;
  f->ok = bk_backend_release (f->backend, f->run, &f->error) && bk_backend_rollback (f->backend, f->run, true, &f->error);
}

static void
must (Fixture *f, void (*work) (gpointer data))
{
  bk_worker_run (work, f);
  bk_assert_no_error (f->error);
  ck_assert (f->ok);
}

/* Takes a backup of @n disks with guest writes before and after the point in time; checks it. */
static void
back_up (Fixture *f, const char *mode, unsigned number, unsigned n, const char *base)
{
  uint8_t *expected[2] = { NULL, NULL };
  f->run = new_run (f, mode, number, n, base);
  must (f, work_snapshot);
  if (strcmp (mode, "push-direct") == 0)
    must (f, work_start);
  for (unsigned i = 0; i < n; i++) {
    const BkRunDisk *disk = f->run->disks->pdata[i];
    expected[i] = bk_test_vm_content (f->vm, disk->name);
    bk_test_vm_write (f->vm, disk->name, 0xee, 0, 3 * MIB);
    bk_test_vm_zero (f->vm, disk->name, 5 * MIB, MIB);
  }
  if (strcmp (mode, "push") == 0)
    must (f, work_start);
  must (f, work_rest);
  bk_test_vm_assert_clean (f->vm);
  for (unsigned i = 0; i < n; i++) {
    const BkRunDisk *disk = f->run->disks->pdata[i];
    ck_assert_str_eq (disk->state, "copied");
    bk_test_assert_content (disk->target, "qcow2", expected[i], SIZE);
    g_free (expected[i]);
  }
  bk_run_free (f->run);
}

static void
scribble (Fixture *f, uint8_t pattern)
{
  bk_test_vm_write (f->vm, "vda", pattern, 4 * MIB, 4 * MIB);
  bk_test_vm_write (f->vm, "vdb", (uint8_t)(pattern + 1), 7 * MIB + 512, 65536);
  bk_test_vm_zero (f->vm, "vda", 6 * MIB, 65536);
}

static void
full_and_increments (const char *mode)
{
  Fixture f;
  set_up (&f, two_disks, 2);
  scribble (&f, 1);
  back_up (&f, mode, 1, 2, NULL);
  scribble (&f, 3);
  back_up (&f, mode, 2, 2, "bkd-0a1b2c-cp-1");
  scribble (&f, 5);
  back_up (&f, mode, 3, 2, "bkd-0a1b2c-cp-2");
  back_up (&f, mode, 4, 2, "bkd-0a1b2c-cp-3");
  tear_down (&f);
}

START_TEST (pushes_full_and_increments)
{
  full_and_increments ("push");
}
END_TEST

START_TEST (pushes_directly)
{
  full_and_increments ("push-direct");
}
END_TEST

static uint64_t
allocated (const char *file)
{
  struct stat status;
  ck_assert_int_eq (stat (file, &status), 0);
  return (uint64_t)status.st_blocks * 512;
}

/* 8 MiB of zeroes that the guest wrote as data: the image has them as zeroes, above older data as well, and not as bytes. */
static void
zeroes_take_no_room (const char *mode)
{
  Fixture f;
  set_up (&f, two_disks, 1);
  bk_test_vm_write (f.vm, "vda", 0, 8 * MIB, 8 * MIB);
  bk_test_vm_write (f.vm, "vda", 0x11, 16 * MIB, 8 * MIB);
  back_up (&f, mode, 1, 1, NULL);
  g_autofree char *full = g_strdup_printf ("%s/vda-1.qcow2", f.folder);
  ck_assert_uint_lt (allocated (full), 9 * MIB);
  bk_test_vm_write (f.vm, "vda", 0, 16 * MIB, 8 * MIB);
  back_up (&f, mode, 2, 1, "bkd-0a1b2c-cp-1");
  g_autofree char *increment = g_strdup_printf ("%s/vda-2.qcow2", f.folder);
  ck_assert_uint_lt (allocated (increment), 5 * MIB); /* back_up() itself wrote 3 MiB since the full */
  tear_down (&f);
}

START_TEST (stores_no_zeroes)
{
  zeroes_take_no_room ("push");
  zeroes_take_no_room ("push-direct");
}
END_TEST

/* Undo at each step gives the bits back: the next increment from the same base is complete. */
START_TEST (gives_dirty_bits_back)
{
  Fixture f;
  set_up (&f, two_disks, 2);
  scribble (&f, 1);
  back_up (&f, "push", 1, 2, NULL);
  for (unsigned steps = 0; steps < 2; steps++) {
    scribble (&f, (uint8_t)(10 + steps));
    f.run = new_run (&f, "push", 90 + steps, 2, NULL);
    for (unsigned i = 0; i < 2; i++)
      ((BkRunDisk *)f.run->disks->pdata[i])->parent_bitmap = g_strdup ("bkd-0a1b2c-cp-1");
    must (&f, work_snapshot);
    if (steps > 0)
      must (&f, work_start);
    bk_test_vm_write (f.vm, "vda", 0x77, 20 * MIB, MIB);
    must (&f, work_undo);
    must (&f, work_undo);
    bk_test_vm_assert_clean (f.vm);
    bk_run_free (f.run);
  }
  back_up (&f, "push", 2, 2, "bkd-0a1b2c-cp-1");
  tear_down (&f);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { pushes_full_and_increments, pushes_directly, stores_no_zeroes, gives_dirty_bits_back, NULL };
  return bk_suite_run ("push", tests);
}
