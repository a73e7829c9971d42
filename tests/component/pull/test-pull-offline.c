/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A VM that is shut off is read from its images; and whoever starts it meanwhile can, at once, and spoils nothing but that
 * backup.
 */
#include "pull-fixture.h"

#include "process.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>

static const BkTestDisk one_disk[] = { { "vda", "qcow2", SIZE } };
static const BkTestDisk two_disks[] = { { "vda", "qcow2", SIZE }, { "vdb", "raw", SIZE } };

#define CP(n) "bkd-0a1b2c-cp-" #n

static BkRunDisk *
disk_at (Fixture *f, unsigned index)
{
  return f->run->disks->pdata[index];
}

static void
plan (Fixture *f, unsigned number, unsigned n, const char *base)
{
  g_clear_pointer (&f->run, bk_run_free);
  f->run = new_run (f, number, 0, n, base);
}

typedef struct {
  Fixture *f;
  uint8_t *images[2];
} Pull;

static void
work_pull (gpointer data)
{
  Pull *pull = data;
  for (unsigned i = 0; i < pull->f->run->disks->len; i++)
    pull_disk (pull->f->run, disk_at (pull->f, i), pull->images[i]);
}

/* Reads the planned run into @pull, and ends it well. */
static void
carry_out (Pull *pull)
{
  Fixture *f = pull->f;
  must (f, work_snapshot);
  must (f, work_export);
  bk_worker_run (work_pull, pull);
  must (f, work_check);
  for (unsigned i = 0; i < f->run->disks->len; i++)
    ck_assert_str_eq (disk_at (f, i)->state, "running");
  must (f, work_release);
}

static void
assert_pulled (const Pull *pull)
{
  for (unsigned i = 0; i < pull->f->run->disks->len; i++) {
    const char *name = disk_at (pull->f, i)->name;
    g_autofree uint8_t *expected = bk_test_vm_content (pull->f->vm, name);
    assert_same (pull->images[i], expected, SIZE, name);
  }
}

static void
assert_folder_empty (Fixture *f)
{
  g_autoptr (GDir) folder = g_dir_open (f->exports, 0, NULL);
  const char *name = folder ? g_dir_read_name (folder) : NULL;
  ck_assert_msg (name == NULL, "left in the export folder: %s", name);
}

static bool
is_off (gpointer data)
{
  return bk_backend_is_off (((Fixture *)data)->backend);
}

static void
shut_off (Fixture *f, bool clean)
{
  bk_test_vm_stop (f->vm, clean);
  ck_assert (bk_main_until (is_off, f, 5000));
}

static const BkDisk *
look (Fixture *f, unsigned index)
{
  must (f, work_inspect);
  return f->state->disks->pdata[index];
}

static void
assert_bitmap (Fixture *f, const char *name, bool recording, uint64_t count)
{
  const BkBitmap *bitmap = bk_disk_find_bitmap (look (f, 0), name);
  ck_assert_msg (bitmap != NULL, "no bitmap %s", name);
  ck_assert_msg (!bitmap->inconsistent && bitmap->recording == recording && bitmap->count == count, "%s: recording %d, count %" G_GUINT64_FORMAT, name,
                 bitmap->recording, bitmap->count);
}

/* A full backup of the running VM, as checkpoint 1; then the guest writes a megabyte. */
static void
begin (Pull *pull, Fixture *f, const BkTestDisk *disks, unsigned n)
{
  set_up_offline (f, disks, n);
  *pull = (Pull){ f, { g_malloc0 (SIZE), g_malloc0 (SIZE) } };
  bk_test_vm_write (f->vm, "vda", 0x11, 0, 8 * MIB);
  plan (f, 1, n, NULL);
  ck_assert (!f->run->offline);
  carry_out (pull);
  assert_pulled (pull);
  bk_test_vm_write (f->vm, "vda", 0x22, 3 * MIB, MIB);
}

static void
end (Pull *pull)
{
  assert_folder_empty (pull->f);
  tear_down (pull->f);
  g_free (pull->images[0]);
  g_free (pull->images[1]);
}

/* --- increments over the end and the start of QEMU --- */

START_TEST (increments_go_on)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, two_disks, 2);
  bk_test_vm_write (f.vm, "vdb", 0x33, 5 * MIB, MIB);
  shut_off (&f, true);

  plan (&f, 2, 2, CP (1));
  ck_assert (f.run->offline);
  ck_assert_str_eq (f.state->status, "shut off");
  ck_assert_str_eq (disk_at (&f, 0)->sync, "bitmap");
  ck_assert_str_eq (disk_at (&f, 1)->sync, "full"); /* raw */
  carry_out (&pull);
  assert_pulled (&pull);
  assert_bitmap (&f, CP (1), false, MIB);
  assert_bitmap (&f, CP (2), true, 0);

  plan (&f, 3, 2, CP (2));
  carry_out (&pull);
  assert_pulled (&pull);

  bk_test_vm_restart (f.vm);
  bk_test_vm_write (f.vm, "vda", 0x44, 20 * MIB, MIB);
  bk_test_vm_zero (f.vm, "vda", 3 * MIB, MIB);
  plan (&f, 4, 1, CP (3));
  ck_assert (!f.run->offline);
  carry_out (&pull);
  assert_pulled (&pull);
  end (&pull);
}
END_TEST

/* The daemon, too, was started only when the VM was off. */
START_TEST (disks_are_remembered)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, one_disk, 1);
  shut_off (&f, true);
  restart_daemon (&f);
  ck_assert (bk_main_until (is_off, &f, 5000));
  plan (&f, 2, 1, CP (1));
  carry_out (&pull);
  assert_pulled (&pull);
  end (&pull);
}
END_TEST

START_TEST (unknown_disks_are_not_guessed)
{
  Fixture f;
  set_up_offline (&f, one_disk, 1);
  bk_test_vm_stop (f.vm, true);
  must_fail (&f, work_inspect, BK_ERROR_UNREACHABLE, "never seen running");
  tear_down (&f);
}
END_TEST

START_TEST (missing_image_is_that_disks_trouble)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, two_disks, 2);
  shut_off (&f, true);
  g_autofree char *path = g_build_filename (f.folder, "vdb.raw", NULL);
  ck_assert_int_eq (g_unlink (path), 0);
  ck_assert_ptr_null (look (&f, 0)->no_access);
  ck_assert_ptr_nonnull (strstr (look (&f, 1)->no_access, "No such file"));
  end (&pull);
}
END_TEST

/* --- a crash of QEMU --- */

START_TEST (killed_vm_has_no_good_bitmaps)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, one_disk, 1);
  shut_off (&f, true);
  bk_test_vm_restart (f.vm);
  bk_test_vm_write (f.vm, "vda", 0x55, 5 * MIB, MIB); /* in clusters that are there: or QEMU would not have noted where they are */
  look (&f, 0);
  shut_off (&f, false);
  const BkBitmap *bitmap = bk_disk_find_bitmap (look (&f, 0), CP (1));
  ck_assert (bitmap && bitmap->inconsistent);

  /* What the plan makes of it: all of the disk, and the broken one goes. */
  plan (&f, 2, 1, NULL);
  disk_at (&f, 0)->stale_bitmaps = g_strsplit (CP (1), ",", -1);
  carry_out (&pull);
  assert_pulled (&pull);
  ck_assert_ptr_null (bk_disk_find_bitmap (look (&f, 0), CP (1)));
  assert_bitmap (&f, CP (2), true, 0);
  end (&pull);
}
END_TEST

/* --- who else is there --- */

START_TEST (vm_without_a_socket_is_not_off)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, one_disk, 1);
  ck_assert_int_eq (g_unlink (bk_test_vm_qmp (f.vm)), 0);
  restart_daemon (&f);
  ck_assert (bk_main_until (is_off, &f, 5000));
  must_fail (&f, work_inspect, BK_ERROR_UNREACHABLE, "its QEMU");
  json_object_object_del (f.recorded, "process"); /* another may have it now: its lock tells */
  restart_daemon (&f);
  ck_assert (bk_main_until (is_off, &f, 5000));
  must_fail (&f, work_inspect, BK_ERROR_UNREACHABLE, "is open for writing");
  end (&pull);
}
END_TEST

/* QEMU starts on the images that we read; what it writes is not in that backup, and is in the next. */
START_TEST (start_wins)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, two_disks, 2);
  shut_off (&f, true);
  plan (&f, 2, 2, CP (1));
  must (&f, work_snapshot);
  must (&f, work_export);
  must (&f, work_check);
  bk_test_vm_restart (f.vm); /* fails the test when QEMU does not start */
  must (&f, work_check);
  for (unsigned i = 0; i < 2; i++) {
    ck_assert_str_eq (disk_at (&f, i)->state, "failed");
    ck_assert_ptr_nonnull (strstr (disk_at (&f, i)->error->message, "the VM was started"));
  }
  bk_test_vm_write (f.vm, "vda", 0x66, 12 * MIB, MIB);
  must (&f, work_release);
  must (&f, work_rollback);
  assert_bitmap (&f, CP (1), true, 2 * MIB);
  ck_assert_ptr_null (bk_disk_find_bitmap (look (&f, 0), CP (2)));
  plan (&f, 3, 1, CP (1));
  carry_out (&pull);
  assert_pulled (&pull);
  end (&pull);
}
END_TEST

/* In between two questions. */
START_TEST (start_that_is_over_is_noticed)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, two_disks, 2);
  shut_off (&f, true);
  plan (&f, 2, 2, CP (1));
  must (&f, work_snapshot);
  must (&f, work_export);
  must (&f, work_check);
  bk_test_vm_restart (f.vm);
  bk_test_vm_write (f.vm, "vdb", 0x77, 12 * MIB, 512);
  bk_test_vm_stop (f.vm, true);
  must (&f, work_check);
  ck_assert_str_eq (disk_at (&f, 1)->state, "failed");
  must (&f, work_release);
  must (&f, work_rollback); /* it is off again: on the image */
  assert_bitmap (&f, CP (1), true, MIB);
  plan (&f, 3, 2, CP (1));
  carry_out (&pull);
  assert_pulled (&pull);
  end (&pull);
}
END_TEST

static void
work_prepare (gpointer data)
{
  Fixture *f = data;
  f->ok = bk_backend_prepare (f->backend, f->run, NULL, &f->error);
}

/* Between the look at the disks and the begin: we wait for nobody, and nobody for us. */
START_TEST (start_before_the_bitmaps_are_written)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, two_disks, 2);
  shut_off (&f, true);
  plan (&f, 2, 2, CP (1));
  bk_test_vm_restart (f.vm);
  must_fail (&f, work_prepare, BK_ERROR_CONFLICT, "is in use: the VM was started");
  must (&f, work_release);
  must (&f, work_rollback);
  assert_bitmap (&f, CP (1), true, MIB);
  end (&pull);
}
END_TEST

/* After them, before the point in time. */
START_TEST (start_before_the_images_are_opened)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, two_disks, 2);
  shut_off (&f, true);
  plan (&f, 2, 2, CP (1));
  must (&f, work_prepare);
  bk_test_vm_restart (f.vm);
  bk_test_vm_write (f.vm, "vda", 0x66, 12 * MIB, MIB);
  bk_worker_run (work_snapshot, &f);
  ck_assert (!f.ok);
  bk_assert_error (f.error, BK_ERROR_CONFLICT);
  must (&f, work_release);
  must (&f, work_rollback);
  assert_bitmap (&f, CP (1), true, 2 * MIB);
  end (&pull);
}
END_TEST

/* --- a guest that shuts down in the middle --- */

START_TEST (end_of_the_vm_gives_the_bits_back)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, one_disk, 1);
  plan (&f, 2, 1, CP (1));
  ck_assert (!f.run->offline);
  must (&f, work_snapshot);
  must (&f, work_export);
  bk_test_vm_write (f.vm, "vda", 0x66, 12 * MIB, MIB);
  shut_off (&f, true);
  bk_worker_run (work_check, &f);
  ck_assert (!f.ok || strcmp (disk_at (&f, 0)->state, "failed") == 0);
  g_clear_error (&f.error);
  must (&f, work_release);
  must (&f, work_rollback);
  assert_bitmap (&f, CP (1), true, 2 * MIB);
  ck_assert_ptr_null (bk_disk_find_bitmap (look (&f, 0), CP (2)));
  plan (&f, 3, 1, CP (1));
  ck_assert (f.run->offline);
  carry_out (&pull);
  assert_pulled (&pull);
  end (&pull);
}
END_TEST

/* --- the storage daemon --- */

START_TEST (storage_daemon_that_dies_fails_the_run)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, one_disk, 1);
  shut_off (&f, true);
  plan (&f, 2, 1, CP (1));
  must (&f, work_snapshot);
  must (&f, work_export);
  g_autofree char *pid_file = g_strdup_printf ("%s/%s-sd.pid", f.exports, f.run->prefix);
  g_autofree char *pid = NULL;
  ck_assert (g_file_get_contents (pid_file, &pid, NULL, NULL));
  ck_assert_int_eq (kill ((pid_t)atoi (pid), SIGKILL), 0);
  g_usleep (G_USEC_PER_SEC / 5);
  bk_worker_run (work_check, &f);
  ck_assert (!f.ok || strcmp (disk_at (&f, 0)->state, "failed") == 0);
  g_clear_error (&f.error);
  must (&f, work_release);
  must (&f, work_rollback);
  assert_bitmap (&f, CP (1), true, MIB);
  end (&pull);
}
END_TEST

/* It outlives the daemon, whose next one ends it. */
START_TEST (storage_daemon_is_found_again)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, one_disk, 1);
  shut_off (&f, true);
  plan (&f, 2, 1, CP (1));
  must (&f, work_snapshot);
  must (&f, work_export);
  restart_daemon (&f);
  must (&f, work_check);
  ck_assert_str_eq (disk_at (&f, 0)->state, "running");
  bk_worker_run (work_pull, &pull);
  must (&f, work_check);
  assert_pulled (&pull);
  must (&f, work_release);
  assert_bitmap (&f, CP (2), true, 0);
  end (&pull);
}
END_TEST

/* --- for third parties --- */

START_TEST (exports_for_third_parties)
{
  Fixture f;
  Pull pull;
  begin (&pull, &f, one_disk, 1);
  shut_off (&f, true);
  plan (&f, 2, 1, CP (1));
  f.run->export = true;
  carry_out (&pull);
  assert_pulled (&pull);
  end (&pull);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { increments_go_on, disks_are_remembered, unknown_disks_are_not_guessed, missing_image_is_that_disks_trouble,
                                 killed_vm_has_no_good_bitmaps, vm_without_a_socket_is_not_off, start_wins, start_that_is_over_is_noticed,
                                 start_before_the_bitmaps_are_written, start_before_the_images_are_opened, end_of_the_vm_gives_the_bits_back,
                                 storage_daemon_that_dies_fails_the_run, storage_daemon_is_found_again, exports_for_third_parties, NULL };
  return run_tests ("pull offline", tests);
}
