/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Catalogs as earlier versions left them, in tests/data/catalog: they must open, and hold what was put in. With
 * BACKUPD_MAKE_GOLDEN=FOLDER the program makes the one of the current version in that folder instead; a file that
 * has been released is never made again.
 */
#include "catalog-private.h"
#include "samples.h"
#include "suite.h"

#include <string.h>

#define MAKE_VARIABLE "BACKUPD_MAKE_GOLDEN"
#define NEWEST 4
#define INSTANCE "000000" /* of all of them */

static const BkVmInfo *
golden_vm (void)
{
  static BkVmInfo vm = { .name = (char *)"web01", .qmp = (char *)"/run/web01.qmp", .agent = (char *)"/run/web01.qga",
                         .added_at = 1795402200000001 };
  if (vm.classes == NULL) {
    vm.classes = g_hash_table_new (g_str_hash, g_str_equal);
    g_hash_table_insert (vm.classes, (gpointer)"vda", (gpointer)"os");
    g_hash_table_insert (vm.classes, (gpointer)"vdb", (gpointer)"database");
  }
  return &vm;
}

/* In the catalog since version 4. */
static const BkVmInfo golden_domain = { .name = (char *)"db01", .libvirt = (char *)"qemu:///system", .domain = (char *)"Database 1",
                                        .uuid = (char *)"9a17a425-d866-4923-804b-eb7ebe6de6f0", .added_at = 1795402200000005 };

/* In the catalog since version 2. */
static const BkRepositoryInfo golden_encrypted = { .name = (char *)"vault", .type = (char *)"dedup", .path = (char *)"/backup/vault",
                                                   .passphrase_file = (char *)"/etc/backupd/passphrase", .created_at = 1795402200000003 };
static const BkRepositoryInfo golden_keyed = { .name = (char *)"vault2", .type = (char *)"dedup", .path = (char *)"/backup/vault2",
                                               .key_file = (char *)"/etc/backupd/key", .created_at = 1795402200000004 };

static const BkRepositoryInfo golden_repository = { .name = (char *)"default", .type = (char *)"qcow2",
                                                    .path = (char *)"/backup/é", .created_at = 1795402200000002 };

/* In the catalog since version 3. (transfer full) */
static json_object *
golden_disks (void)
{
  static const char text[] = "{\"recorded_at\":\"2026-11-25T10:00:00.000001Z\",\"disks\":[{\"name\":\"vda\",\"qdev\":\"vda\",\"path\":\"/vm/é.qcow2\"}]}";
  return bk_json_parse (text, sizeof text - 1, NULL);
}

static BkJobRecord *
golden_job (void)
{
  BkJobRecord *job = sample_small_job ("01JDAAAAAAAAAAAAAAAAAAAAAA", "web01", "completed");
  BkJobStep *step = g_new0 (BkJobStep, 1);
  step->name = g_strdup ("copy");
  step->state = g_strdup ("done");
  step->started_at = 1795402201000003;
  step->ended_at = 1795402202999999;
  job->number = 1;
  job->settled = true;
  job->info->steps = g_ptr_array_new ();
  g_ptr_array_add (job->info->steps, step);
  job->info->reason = g_strdup ("\"auto\" – it's the default");
  job->info->point_in_time = 1795402200987654;
  job->request = bk_json_parse ("{\"vm\":\"web01\",\"speed\":0}", 24, NULL);
  return job;
}

static BkBackupInfo *
golden_backup (const char *id, int64_t time, const char *parent)
{
  BkBackupInfo *backup = sample_backup (id, "web01", "default", time, parent);
  backup->location = g_strdup_printf ("/backup/é/%s", id);
  backup->completed_at = time + 1;
  backup->size = UINT64_C (1) << 40;
  return backup;
}

START_TEST (makes_a_golden_catalog)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (g_getenv (MAKE_VARIABLE));
  g_autoptr (BkJobRecord) job = golden_job ();
  g_autoptr (BkBackupInfo) full = golden_backup ("b1", 1795402200987654, NULL);
  g_autoptr (BkBackupInfo) increment = golden_backup ("b2", 1795402300987654, "b1");
  g_autoptr (BkCheckpointInfo) older = sample_checkpoint ("c2", "before the upgrade", "web01", NULL);
  g_autoptr (BkCheckpointInfo) newer = sample_checkpoint ("c1", NULL, "web01", "c2");
  ck_assert (bk_sql_exec (catalog->sql, "UPDATE instance SET id = '" INSTANCE "'", &error));
  ck_assert (bk_catalog_add_vm (catalog, golden_vm (), &error));
  ck_assert (bk_catalog_add_vm (catalog, &golden_domain, &error));
  g_autoptr (json_object) disks = golden_disks ();
  ck_assert (bk_catalog_record_disks (catalog, "web01", disks, &error));
  ck_assert (bk_catalog_add_repository (catalog, &golden_repository, &error));
  ck_assert (bk_catalog_add_repository (catalog, &golden_encrypted, &error));
  ck_assert (bk_catalog_add_repository (catalog, &golden_keyed, &error));
  ck_assert (bk_catalog_insert_job (catalog, job, &error));
  ck_assert (bk_catalog_put_backup (catalog, full, &error) && bk_catalog_put_backup (catalog, increment, &error));
  ck_assert (bk_catalog_put_checkpoint (catalog, older, &error) && bk_catalog_put_checkpoint (catalog, newer, &error));
}
END_TEST

static BkCatalog *
open_copy (const char *name)
{
  g_autofree char *from = g_build_filename (BK_TEST_DATA, "catalog", name, NULL);
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *to = g_build_filename (folder, "catalog.sqlite", NULL);
  g_autofree char *data = NULL;
  size_t length = 0;
  ck_assert (g_file_get_contents (from, &data, &length, NULL));
  ck_assert (g_file_set_contents (to, data, (gssize)length, NULL));
  return sample_open (folder);
}

static void
check_repositories (BkCatalog *catalog, unsigned version)
{
  const BkRepositoryInfo *const wanted[] = { &golden_repository, &golden_encrypted, &golden_keyed };
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) repositories = bk_catalog_list_repositories (catalog, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (repositories->len, version < 2 ? 1 : G_N_ELEMENTS (wanted));
  for (unsigned i = 0; i < repositories->len; i++)
    sample_assert_equal (&bk_repository_info_struct, repositories->pdata[i], wanted[i]);
}

static void
check_vms (BkCatalog *catalog, unsigned version)
{
  const BkVmInfo *const wanted[] = { &golden_domain, golden_vm () };
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) vms = bk_catalog_list_vms (catalog, &error);
  unsigned skipped = version < 4 ? 1 : 0;
  bk_assert_no_error (error);
  ck_assert_uint_eq (vms->len, G_N_ELEMENTS (wanted) - skipped);
  for (unsigned i = 0; i < vms->len; i++)
    sample_assert_equal (&bk_vm_info_struct, vms->pdata[i], wanted[i + skipped]);
}

static void
check_rows (BkCatalog *catalog)
{
  g_autoptr (GError) error = NULL;
  ck_assert_str_eq (bk_catalog_instance (catalog), INSTANCE);
  g_autoptr (BkJobRecord) wanted = golden_job ();
  g_autoptr (BkJobRecord) job = bk_catalog_get_job (catalog, "01JD", &error);
  sample_assert_equal_job (job, wanted);
}

static void
check_disks (BkCatalog *catalog, unsigned version)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) wanted = golden_disks ();
  g_autoptr (json_object) disks = NULL;
  ck_assert (bk_catalog_recorded_disks (catalog, "web01", &disks, &error));
  ck_assert (version < 3 ? disks == NULL : json_object_equal (disks, wanted));
}

static void
check_backups (BkCatalog *catalog)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) full = golden_backup ("b1", 1795402200987654, NULL);
  g_autoptr (BkBackupInfo) increment = golden_backup ("b2", 1795402300987654, "b1");
  g_autoptr (GPtrArray) backups = bk_catalog_list_backups (catalog, "web01", "default", &error);
  ck_assert_uint_eq (backups->len, 2);
  sample_assert_equal (&bk_backup_info_struct, backups->pdata[0], full);
  sample_assert_equal (&bk_backup_info_struct, backups->pdata[1], increment);
  g_auto (GStrv) children = bk_catalog_children_of_backup (catalog, "b1", &error);
  ck_assert_str_eq (children[0], "b2");
}

static void
check_checkpoints (BkCatalog *catalog)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCheckpointInfo) older = sample_checkpoint ("c2", "before the upgrade", "web01", NULL);
  g_autoptr (BkCheckpointInfo) newer = sample_checkpoint ("c1", NULL, "web01", "c2");
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (catalog, "web01", &error);
  ck_assert_uint_eq (checkpoints->len, 2);
  sample_assert_equal (&bk_checkpoint_info_struct, checkpoints->pdata[0], older);
  sample_assert_equal (&bk_checkpoint_info_struct, checkpoints->pdata[1], newer);
}

START_TEST (opens_all_versions)
{
  for (unsigned version = 1; version <= NEWEST; version++) {
    g_autofree char *name = g_strdup_printf ("version-%u.sqlite", version);
    g_autoptr (BkCatalog) catalog = open_copy (name);
    check_rows (catalog);
    check_vms (catalog, version);
    check_disks (catalog, version);
    check_repositories (catalog, version);
    check_backups (catalog);
    check_checkpoints (catalog);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { opens_all_versions, NULL };
  const TTest *const make[] = { makes_a_golden_catalog, NULL };
  return bk_suite_run ("catalog golden", g_getenv (MAKE_VARIABLE) ? make : tests);
}
