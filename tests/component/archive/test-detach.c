/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scene.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const first[] = { "1 0 9M", "8 14M 7M", "9 58M 6M", NULL };
static const char *const second[] = { "z 1M 4M", "2 8M 1M", "d 16M 2M", "3 60M 8M", "7 20M 64K", NULL };
static const char *const third[] = { "4 8M 64K", "z 9M 1M", "5 90M 8M", "6 2M 64K", "6 20M 512", NULL };

static BkArchive *archive;
static GByteArray *content[3]; /* of B0, B1, B2 */

static void
make_chain (void)
{
  g_autoptr (GByteArray) model = g_byte_array_new ();
  archive = scene_archive ();
  scene_backup (archive, "B0", NULL, 64 * MIB, model, first);
  content[0] = scene_copy (model);
  scene_backup (archive, "B1", "B0", 96 * MIB, model, second);
  content[1] = scene_copy (model);
  scene_backup (archive, "B2", "B1", 128 * MIB, model, third);
  content[2] = scene_copy (model);
}

static void
drop_chain (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (content); i++)
    g_clear_pointer (&content[i], g_byte_array_unref);
  g_clear_pointer (&archive, bk_archive_unref);
}

static void
assert_backup (const char *id, const GByteArray *wanted, const char *parent, const char *level)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *image = bk_archive_image_path (archive, "web01", id, "vda");
  g_autoptr (BkBackupInfo) manifest = bk_archive_read (archive, "web01", id, &error);
  bk_assert_no_error (error);
  const BkBackupDisk *disk = manifest->disks->pdata[0];
  ck_assert_pstr_eq (disk->parent, parent);
  ck_assert_str_eq (disk->level, level);
  scene_assert_content (image, "qcow2", wanted);
}

/* As the header has it: with a relative name the repository may be moved. */
static void
assert_header (const char *id, const char *backing)
{
  g_autofree char *image = bk_archive_image_path (archive, "web01", id, "vda");
  g_autofree char *text = scene_run ("qemu-img", "info", "--output=json", "-f", "qcow2", image, NULL);
  g_autofree char *wanted = backing ? g_strdup_printf ("\"backing-filename\": \"%s\"", backing) : NULL;
  struct stat st;
  ck_assert_ptr_nonnull (strstr (text, wanted ? wanted : "\"virtual-size\""));
  ck_assert_int_eq (strstr (text, "backing-filename") != NULL, wanted != NULL);
  ck_assert_int_eq (stat (image, &st), 0);
  ck_assert_uint_eq (st.st_mode & 0777, 0600);
}

static void
detach_and_remove (const char *id, const char *child)
{
  g_autoptr (GError) error = NULL;
  bool ok = bk_archive_detach (archive, "web01", id, child, NULL, NULL, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  ok = bk_archive_detach (archive, "web01", id, child, NULL, NULL, NULL, &error); /* may be repeated */
  bk_assert_no_error (error);
  ck_assert (ok);
  ok = bk_archive_remove (archive, "web01", id, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

START_TEST (takes_out_the_middle)
{
  make_chain ();
  assert_backup ("B2", content[2], "B1", "incremental");
  detach_and_remove ("B1", "B2");
  assert_header ("B2", "../B0/vda.qcow2");
  assert_backup ("B0", content[0], NULL, "full");
  assert_backup ("B2", content[2], "B0", "incremental");
  detach_and_remove ("B0", "B2");
  assert_header ("B2", NULL);
  assert_backup ("B2", content[2], NULL, "full");
  drop_chain ();
}
END_TEST

START_TEST (takes_out_the_first)
{
  make_chain ();
  detach_and_remove ("B0", "B1");
  assert_header ("B1", NULL);
  assert_header ("B2", "../B1/vda.qcow2");
  assert_backup ("B1", content[1], NULL, "full");
  assert_backup ("B2", content[2], "B1", "incremental");
  detach_and_remove ("B1", "B2");
  assert_backup ("B2", content[2], NULL, "full");
  drop_chain ();
}
END_TEST

/* An increment in which the file system was trimmed is small, and must stay so. */
START_TEST (does_not_grow_by_zeroes)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) model = g_byte_array_new ();
  archive = scene_archive ();
  scene_backup (archive, "B0", NULL, 64 * MIB, model, first);
  scene_backup (archive, "B1", "B0", 64 * MIB, model, (const char *[]){ "z 0 48M", NULL });
  scene_backup (archive, "B2", "B1", 64 * MIB, model, (const char *[]){ "2 60M 64K", NULL });
  detach_and_remove ("B1", "B2");
  assert_backup ("B2", model, "B0", "incremental");
  g_autoptr (BkBackupInfo) manifest = bk_archive_read (archive, "web01", "B2", &error);
  const BkBackupDisk *disk = manifest->disks->pdata[0];
  uint64_t data = 0, zero = 0;
  ck_assert_uint_lt (disk->bytes_stored, MIB);
  ck_assert_uint_eq (manifest->bytes_stored, disk->bytes_stored);
  ck_assert (bk_image_measure (disk->file, &data, &zero, &error));
  ck_assert_uint_eq (data, 64 * 1024);
  ck_assert_uint_eq (zero, 16 * MIB); /* where B0 has data */
  drop_chain ();
}
END_TEST

/* Sizes that are no multiple of a cluster, and a disk that shrank. */
START_TEST (copes_with_odd_sizes)
{
  g_autoptr (GByteArray) model = g_byte_array_new ();
  archive = scene_archive ();
  scene_backup (archive, "B0", NULL, 8 * MIB + 512, model, (const char *[]){ "1 0 8389120", NULL });
  scene_backup (archive, "B1", "B0", 6 * MIB + 1024, model, (const char *[]){ "2 6M 1024", "z 1M 64K", NULL });
  scene_backup (archive, "B2", "B1", 9 * MIB + 1536, model, (const char *[]){ "3 9M 1536", "4 1M 512", NULL });
  detach_and_remove ("B1", "B2");
  assert_backup ("B2", model, "B0", "incremental");
  detach_and_remove ("B0", "B2");
  assert_backup ("B2", model, NULL, "full");
  drop_chain ();
}
END_TEST

START_TEST (keeps_compression)
{
  g_autoptr (GByteArray) model = g_byte_array_new ();
  archive = scene_archive ();
  scene_backup (archive, "B0", NULL, 8 * MIB, model, (const char *[]){ "1 0 8M", NULL });
  scene_backup (archive, "B1", "B0", 8 * MIB, model, (const char *[]){ "2 0 64K", NULL });
  g_autofree char *image = bk_archive_image_path (archive, "web01", "B0", "vda");
  g_autofree char *small = g_strconcat (image, ".small", NULL);
  g_free (scene_run ("qemu-img", "convert", "-c", "-f", "qcow2", "-O", "qcow2", image, small, NULL));
  ck_assert_int_eq (rename (small, image), 0);
  detach_and_remove ("B0", "B1");
  assert_backup ("B1", model, NULL, "full");
  g_autofree char *child = bk_archive_image_path (archive, "web01", "B1", "vda");
  struct stat st;
  ck_assert_int_eq (stat (child, &st), 0);
  ck_assert_int_lt (st.st_blocks * 512, MIB);
  drop_chain ();
}
END_TEST

START_TEST (leaves_other_children_alone)
{
  g_autoptr (GError) error = NULL;
  make_chain ();
  g_autoptr (GByteArray) other = scene_copy (content[0]);
  scene_backup (archive, "D", "B0", 64 * MIB, other, (const char *[]){ "9 5M 1M", NULL });
  ck_assert (bk_archive_detach (archive, "web01", "B0", "B1", NULL, NULL, NULL, &error));
  ck_assert (!bk_archive_remove (archive, "web01", "B0", &error));
  ck_assert_ptr_nonnull (strstr (error->message, "'D'"));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  ck_assert (bk_archive_detach (archive, "web01", "B0", "B2", NULL, NULL, NULL, &error)); /* it does not stand there */
  assert_header ("B2", "../B1/vda.qcow2");
  assert_backup ("D", other, "B0", "incremental");
  detach_and_remove ("B0", "D");
  assert_backup ("D", other, NULL, "full");
  assert_backup ("B2", content[2], "B1", "incremental");
  drop_chain ();
}
END_TEST

static void
remember (double fraction, gpointer user_data)
{
  double *last = user_data;
  ck_assert_msg (fraction >= *last && fraction <= 1, "%f after %f", fraction, *last);
  *last = fraction;
}

START_TEST (tells_progress_and_can_be_cancelled)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  make_chain ();
  double last = 0;
  g_cancellable_cancel (cancellable);
  ck_assert (!bk_archive_detach (archive, "web01", "B1", "B2", NULL, NULL, cancellable, &error));
  bk_assert_error (error, BK_ERROR_CANCELLED);
  assert_backup ("B2", content[2], "B1", "incremental");
  ck_assert (bk_archive_detach (archive, "web01", "B1", "B2", remember, &last, NULL, &error));
  ck_assert (last > 0.999);
  drop_chain ();
}
END_TEST

START_TEST (does_not_leave_the_repository)
{
  g_autoptr (GError) error = NULL;
  make_chain ();
  g_autofree char *image = bk_archive_image_path (archive, "web01", "B1", "vda");
  g_free (scene_run ("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", image, NULL));
  ck_assert (!bk_archive_detach (archive, "web01", "B1", "B2", NULL, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  ck_assert (!bk_archive_detach (archive, "web01", "B0", "B1", NULL, NULL, NULL, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  drop_chain ();
}
END_TEST

START_TEST (asks_the_images_when_a_manifest_is_damaged)
{
  g_autoptr (GError) error = NULL;
  make_chain ();
  g_autofree char *folder = bk_archive_backup_folder (archive, "web01", "B2");
  g_autofree char *manifest = g_build_filename (folder, "manifest.json", NULL);
  ck_assert (g_file_set_contents (manifest, "{", -1, NULL));
  ck_assert (!bk_archive_remove (archive, "web01", "B1", &error));
  ck_assert_ptr_nonnull (strstr (error->message, "'B2'"));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  scene_backup (archive, "B4", NULL, 64 * MIB, content[0], first);
  ck_assert (bk_archive_remove (archive, "web01", "B4", &error)); /* B2 does not stand on that one */
  drop_chain ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { takes_out_the_middle,
                                 takes_out_the_first,
                                 does_not_grow_by_zeroes,
                                 copes_with_odd_sizes,
                                 keeps_compression,
                                 leaves_other_children_alone,
                                 tells_progress_and_can_be_cancelled,
                                 does_not_leave_the_repository,
                                 asks_the_images_when_a_manifest_is_damaged,
                                 NULL };
  return bk_suite_run ("detach", tests);
}
