/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "samples.h"
#include "suite.h"

#define ROUNDS 200

/* The order of IDs in a list, as one text. */
static char *
ids_of (GPtrArray *items, const char *(*id_of) (gconstpointer item))
{
  g_autoptr (GString) ids = g_string_new (NULL);
  for (unsigned i = 0; i < items->len; i++)
    g_string_append_printf (ids, "%s%s", i ? " " : "", id_of (items->pdata[i]));
  return g_string_free (g_steal_pointer (&ids), FALSE);
}

static const char *
vm_id (gconstpointer item)
{
  return ((const BkVmInfo *)item)->name;
}

static const char *
repository_id (gconstpointer item)
{
  return ((const BkRepositoryInfo *)item)->name;
}

static const char *
job_id (gconstpointer item)
{
  return ((const BkJobRecord *)item)->info->id;
}

static const char *
backup_id (gconstpointer item)
{
  return ((const BkBackupInfo *)item)->id;
}

static const char *
checkpoint_id (gconstpointer item)
{
  return ((const BkCheckpointInfo *)item)->id;
}

static void
assert_ids (GPtrArray *list, const char *(*id_of) (gconstpointer item), const char *wanted, GError *error)
{
  bk_assert_no_error (error);
  g_autoptr (GPtrArray) items = list;
  g_autofree char *ids = ids_of (items, id_of);
  ck_assert_str_eq (ids, wanted);
}

static void
insert_job (BkCatalog *catalog, const char *id, const char *vm, const char *state, const char *kind, bool settled)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkJobRecord) record = sample_small_job (id, vm, state);
  g_free (record->info->kind);
  record->info->kind = g_strdup (kind);
  record->settled = settled;
  gboolean done = bk_catalog_insert_job (catalog, record, &error);
  bk_assert_no_error (error);
  ck_assert (done);
}

static void
put_backup (BkCatalog *catalog, const char *id, const char *vm, const char *repository, int64_t time,
            const char *parent)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) backup = sample_backup (id, vm, repository, time, parent);
  gboolean done = bk_catalog_put_backup (catalog, backup, &error);
  bk_assert_no_error (error);
  ck_assert (done);
}

static void
put_checkpoint (BkCatalog *catalog, const char *id, const char *name, const char *vm)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCheckpointInfo) checkpoint = sample_checkpoint (id, name, vm, NULL);
  gboolean done = bk_catalog_put_checkpoint (catalog, checkpoint, &error);
  bk_assert_no_error (error);
  ck_assert (done);
}

/* --- what goes in comes out --- */

START_TEST (keeps_all_of_a_job)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (1);
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  for (int i = 0; i < ROUNDS; i++) {
    g_autofree char *id = g_strdup_printf ("job-%d.", i);
    g_autoptr (BkJobRecord) record = sample_job (rand, id);
    ck_assert (bk_catalog_insert_job (catalog, record, &error));
    ck_assert_uint_eq (record->number, (uint64_t)i + 1);
    g_autoptr (BkJobRecord) inserted = bk_catalog_get_job (catalog, id, &error);
    sample_assert_equal_job (inserted, record);
    g_autoptr (BkJobRecord) change = sample_job (rand, id);
    change->number = record->number;
    ck_assert (bk_catalog_update_job (catalog, change, &error));
    g_autoptr (BkJobRecord) updated = bk_catalog_get_job (catalog, id, &error);
    sample_assert_equal_job (updated, change);
  }
}
END_TEST

START_TEST (keeps_all_of_a_backup)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (2);
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_repository (catalog, "default");
  for (int i = 0; i < ROUNDS; i++) {
    g_autoptr (BkBackupInfo) backup = sample_struct (&bk_backup_info_struct, rand, i % 2 == 0);
    g_clear_pointer (&backup->repository, g_free);
    backup->repository = i % 3 == 0 ? NULL : g_strdup ("default");
    for (unsigned d = 0; d < backup->disks->len; d++) {
      BkBackupDisk *disk = backup->disks->pdata[d];
      g_free (disk->name);
      disk->name = g_strdup_printf ("vd'%u", d);
    }
    ck_assert_msg (bk_catalog_put_backup (catalog, backup, &error), "%s", error ? error->message : "");
    g_autoptr (BkBackupInfo) got = bk_catalog_get_backup (catalog, backup->id, &error);
    sample_assert_equal (&bk_backup_info_struct, got, backup);
  }
}
END_TEST

START_TEST (keeps_all_of_a_checkpoint)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (3);
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_vm (catalog, "it's \"web\" 01");
  for (int i = 0; i < ROUNDS; i++) {
    g_autoptr (BkCheckpointInfo) checkpoint = sample_struct (&bk_checkpoint_info_struct, rand, i % 2 == 0);
    g_free (checkpoint->vm);
    checkpoint->vm = g_strdup ("it's \"web\" 01");
    for (unsigned d = 0; checkpoint->disks && d < checkpoint->disks->len; d++) {
      BkCheckpointDisk *disk = checkpoint->disks->pdata[d];
      g_free (disk->name);
      disk->name = g_strdup_printf ("vd'%u", d);
    }
    ck_assert_msg (bk_catalog_put_checkpoint (catalog, checkpoint, &error), "%s", error ? error->message : "");
    g_autoptr (BkCheckpointInfo) got = bk_catalog_get_checkpoint (catalog, checkpoint->vm, checkpoint->id, &error);
    sample_assert_equal (&bk_checkpoint_info_struct, got, checkpoint);
  }
}
END_TEST

static void
forget_live_state (BkVmInfo *vm)
{
  g_clear_pointer (&vm->state, g_free);
  g_clear_pointer (&vm->reason, g_free);
  g_clear_pointer (&vm->qemu_version, g_free);
  g_clear_pointer (&vm->jobs, g_strfreev);
  vm->recorded_at = 0;
  for (unsigned i = 0; vm->disks && i < vm->disks->len; i++)
    bk_disk_info_free (vm->disks->pdata[i]);
  g_clear_pointer (&vm->disks, g_ptr_array_unref);
}

START_TEST (keeps_what_belongs_to_a_vm)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (4);
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  for (int i = 0; i < ROUNDS; i++) {
    g_autoptr (BkVmInfo) vm = sample_struct (&bk_vm_info_struct, rand, i % 2 == 0);
    ck_assert_msg (bk_catalog_add_vm (catalog, vm, &error), "%s", error ? error->message : "");
    forget_live_state (vm);
    g_autoptr (GPtrArray) vms = bk_catalog_list_vms (catalog, &error);
    ck_assert_uint_eq (vms->len, 1);
    sample_assert_equal (&bk_vm_info_struct, vms->pdata[0], vm);
    ck_assert (bk_catalog_remove_vm (catalog, vm->name, &error));
  }
}
END_TEST

START_TEST (records_the_disks_of_a_vm)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  g_autoptr (json_object) disks = bk_json_parse ("{\"disks\":[{\"name\":\"vda\"}]}", 27, NULL);
  g_autoptr (json_object) none = NULL, found = NULL;
  sample_add_vm (catalog, "web01");
  ck_assert (bk_catalog_recorded_disks (catalog, "web01", &none, &error));
  ck_assert_ptr_null (none);
  ck_assert (bk_catalog_record_disks (catalog, "web01", disks, &error));
  ck_assert (bk_catalog_record_disks (catalog, "another", disks, &error));
  ck_assert (bk_catalog_recorded_disks (catalog, "web01", &found, &error));
  ck_assert (json_object_equal (found, disks));
  ck_assert (bk_catalog_recorded_disks (catalog, "another", &none, &error));
  ck_assert_ptr_null (none);
}
END_TEST

START_TEST (keeps_what_belongs_to_a_repository)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  const BkRepositoryInfo wanted = { .name = (char *)"a'b", .path = (char *)"/x \"y\"/é", .created_at = 1795402200001 };
  ck_assert (bk_catalog_add_repository (catalog, &wanted, &error));
  sample_add_repository (catalog, "default");
  g_autoptr (GPtrArray) repositories = bk_catalog_list_repositories (catalog, &error);
  ck_assert_uint_eq (repositories->len, 2);
  sample_assert_equal (&bk_repository_info_struct, repositories->pdata[0], &wanted);
  ck_assert_str_eq (((BkRepositoryInfo *)repositories->pdata[1])->type, "qcow2");
}
END_TEST

/* A row that cannot be read again would break every list. */
START_TEST (refuses_what_it_could_not_read_again)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  g_autoptr (BkJobRecord) job = sample_small_job ("j1", "web01", "queued");
  job->info->reason = g_strdup ("not \xff UTF-8");
  ck_assert (!bk_catalog_insert_job (catalog, job, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  g_autoptr (BkJobRecord) odd = sample_small_job ("j2", "web01", "sleeping");
  ck_assert (!bk_catalog_insert_job (catalog, odd, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  g_autoptr (BkBackupInfo) timeless = sample_backup ("b1", "web01", NULL, 0, NULL);
  ck_assert (!bk_catalog_put_backup (catalog, timeless, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  const BkJobFilter all = { 0 };
  assert_ids (bk_catalog_list_jobs (catalog, &all, &error), job_id, "", error);
}
END_TEST

/* --- names and IDs --- */

START_TEST (refuses_a_second_of_a_name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_vm (catalog, "web01");
  sample_add_repository (catalog, "default");
  insert_job (catalog, "j1", "web01", "queued", "backup", false);
  const BkVmInfo vm = { .name = (char *)"web01" };
  ck_assert (!bk_catalog_add_vm (catalog, &vm, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  const BkRepositoryInfo same_name = { .name = (char *)"default", .path = (char *)"/other" };
  ck_assert (!bk_catalog_add_repository (catalog, &same_name, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  const BkRepositoryInfo same_path = { .name = (char *)"other", .path = (char *)"/backup/default" };
  ck_assert (!bk_catalog_add_repository (catalog, &same_path, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  g_autoptr (BkJobRecord) job = sample_small_job ("j1", "web02", "queued");
  ck_assert (!bk_catalog_insert_job (catalog, job, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  ck_assert_uint_eq (job->number, 0);
}
END_TEST

START_TEST (names_what_there_is)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  ck_assert (!bk_catalog_remove_vm (catalog, "web03", &error));
  ck_assert_str_eq (error->message, "there is no VM 'web03'; there are: none");
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  sample_add_vm (catalog, "web02");
  sample_add_vm (catalog, "web01");
  ck_assert (!bk_catalog_remove_vm (catalog, "web03", &error));
  ck_assert_str_eq (error->message, "there is no VM 'web03'; there are: web01, web02");
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (!bk_catalog_remove_repository (catalog, "x", &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  g_autoptr (BkCheckpointInfo) checkpoint = sample_checkpoint ("c1", NULL, "web03", NULL);
  ck_assert (!bk_catalog_put_checkpoint (catalog, checkpoint, &error));
  ck_assert_str_eq (error->message, "there is no VM 'web03'; there are: web01, web02");
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  g_autoptr (BkBackupInfo) backup = sample_backup ("b1", "web01", "default", 1, NULL);
  ck_assert (!bk_catalog_put_backup (catalog, backup, &error));
  ck_assert_str_eq (error->message, "there is no repository 'default'; there are: none");
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  g_autoptr (BkJobRecord) job = sample_small_job ("j1", "web01", "queued");
  ck_assert (!bk_catalog_update_job (catalog, job, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

static void
assert_job (BkCatalog *catalog, const char *prefix, const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkJobRecord) record = bk_catalog_get_job (catalog, prefix, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (record->info->id, wanted);
}

static void
assert_no_job (BkCatalog *catalog, const char *prefix, BkErrorCode code, const char *words)
{
  g_autoptr (GError) error = NULL;
  ck_assert_ptr_null (bk_catalog_get_job (catalog, prefix, &error));
  ck_assert_ptr_nonnull (strstr (error->message, words));
  bk_assert_error (error, code);
}

START_TEST (finds_a_job_by_prefix)
{
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  const char *const ids[] = { "01JA",    "01JAB",   "01JABC",  "a_c",     "abc",    "night-1",
                              "night-2", "night-3", "night-4", "night-5", "night-6" };
  for (size_t i = 0; i < G_N_ELEMENTS (ids); i++)
    insert_job (catalog, ids[i], NULL, "queued", "backup", false);
  assert_job (catalog, "01JA", "01JA");
  assert_job (catalog, "01JAB", "01JAB");
  assert_job (catalog, "01JABC", "01JABC");
  assert_job (catalog, "a_", "a_c");
  assert_job (catalog, "ab", "abc");
  assert_no_job (catalog, "01J", BK_ERROR_INVALID, "01JA, 01JAB, 01JABC;");
  assert_no_job (catalog, "night-", BK_ERROR_INVALID, "night-4, night-5 and more;");
  assert_no_job (catalog, "", BK_ERROR_INVALID, "empty");
  assert_no_job (catalog, "%", BK_ERROR_NOT_FOUND, "'%'");
  assert_no_job (catalog, "_", BK_ERROR_NOT_FOUND, "'_'");
  assert_no_job (catalog, "a%", BK_ERROR_NOT_FOUND, "'a%'");
  assert_no_job (catalog, "AB", BK_ERROR_NOT_FOUND, "'AB'");
  assert_no_job (catalog, "' OR 1 --", BK_ERROR_NOT_FOUND, "OR 1");
}
END_TEST

static void
assert_checkpoint (BkCatalog *catalog, const char *vm, const char *prefix, const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCheckpointInfo) checkpoint = bk_catalog_get_checkpoint (catalog, vm, prefix, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (checkpoint->id, wanted);
}

START_TEST (finds_a_checkpoint_by_id_or_name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_vm (catalog, "web01");
  sample_add_vm (catalog, "web02");
  put_checkpoint (catalog, "c10", "base", "web01");
  put_checkpoint (catalog, "c11", "c1", "web01");
  put_checkpoint (catalog, "c20", "base", "web02");
  put_checkpoint (catalog, "base2", "c20", "web02");
  assert_checkpoint (catalog, NULL, "c10", "c10");
  assert_checkpoint (catalog, NULL, "c1", "c11");  /* a name before the start of an ID */
  assert_checkpoint (catalog, NULL, "c20", "c20"); /* an ID before a name */
  assert_checkpoint (catalog, "web02", "c2", "c20");
  assert_checkpoint (catalog, "web01", "base", "c10");
  assert_checkpoint (catalog, "web02", "base", "c20");
  assert_checkpoint (catalog, "web02", "bas", "base2");
  ck_assert_ptr_null (bk_catalog_get_checkpoint (catalog, NULL, "base", &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  ck_assert_ptr_null (bk_catalog_get_checkpoint (catalog, NULL, "c", &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  ck_assert_ptr_null (bk_catalog_get_checkpoint (catalog, "web01", "c20", &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert_ptr_null (bk_catalog_get_checkpoint (catalog, "web01", "", &error));
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

/* --- lists --- */

START_TEST (lists_by_name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  assert_ids (bk_catalog_list_vms (catalog, &error), vm_id, "", error);
  sample_add_vm (catalog, "web02");
  sample_add_vm (catalog, "web10");
  sample_add_vm (catalog, "db01");
  assert_ids (bk_catalog_list_vms (catalog, &error), vm_id, "db01 web02 web10", error);
  sample_add_repository (catalog, "offsite");
  sample_add_repository (catalog, "default");
  assert_ids (bk_catalog_list_repositories (catalog, &error), repository_id, "default offsite", error);
}
END_TEST

static void
assert_jobs (BkCatalog *catalog, BkJobFilter filter, const char *wanted)
{
  g_autoptr (GError) error = NULL;
  assert_ids (bk_catalog_list_jobs (catalog, &filter, &error), job_id, wanted, error);
}

START_TEST (lists_jobs_newest_first)
{
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  insert_job (catalog, "z1", "web01", "completed", "backup", true);
  insert_job (catalog, "y2", "web02", "failed", "backup", true);
  insert_job (catalog, "x3", "web01", "failed", "restore", true);
  insert_job (catalog, "w4", NULL, "queued", "delete", true);
  insert_job (catalog, "v5", "web01", "running", "backup", true);
  assert_jobs (catalog, (BkJobFilter){ 0 }, "v5 w4 x3 y2 z1");
  assert_jobs (catalog, (BkJobFilter){ .limit = 2 }, "v5 w4");
  assert_jobs (catalog, (BkJobFilter){ .limit = 2, .before = 4 }, "x3 y2");
  assert_jobs (catalog, (BkJobFilter){ .before = 1 }, "");
  assert_jobs (catalog, (BkJobFilter){ .before = UINT64_MAX, .limit = 1 }, "v5");
  assert_jobs (catalog, (BkJobFilter){ .vm = "web01" }, "v5 x3 z1");
  assert_jobs (catalog, (BkJobFilter){ .vm = "web01", .before = 5 }, "x3 z1");
  assert_jobs (catalog, (BkJobFilter){ .state = "failed" }, "x3 y2");
  assert_jobs (catalog, (BkJobFilter){ .kind = "backup" }, "v5 y2 z1");
  assert_jobs (catalog, (BkJobFilter){ .vm = "web01", .state = "failed" }, "x3");
  assert_jobs (catalog, (BkJobFilter){ .vm = "web01", .kind = "backup" }, "v5 z1");
  assert_jobs (catalog, (BkJobFilter){ .state = "failed", .kind = "restore" }, "x3");
  assert_jobs (catalog, (BkJobFilter){ .vm = "web01", .state = "completed", .kind = "backup" }, "z1");
  assert_jobs (catalog, (BkJobFilter){ .vm = "web%" }, "");
}
END_TEST

START_TEST (lists_a_hundred_jobs_by_default)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  g_autoptr (BkCatalogChange) change = bk_catalog_begin (catalog, &error);
  for (int i = 0; i < 103; i++) {
    g_autofree char *id = g_strdup_printf ("j%d", i);
    insert_job (catalog, id, NULL, "queued", "backup", false);
  }
  ck_assert (bk_catalog_commit (&change, &error));
  g_autoptr (GPtrArray) jobs = bk_catalog_list_jobs (catalog, &(BkJobFilter){ 0 }, &error);
  ck_assert_uint_eq (jobs->len, 100);
}
END_TEST

START_TEST (lists_unsettled_jobs_oldest_first)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  for (int settled = 0; settled < 2; settled++) {
    for (int i = 0; bk_job_states[i]; i++) {
      g_autofree char *id = g_strdup_printf ("%s%d", bk_job_states[i], settled);
      insert_job (catalog, id, NULL, bk_job_states[i], "backup", settled);
    }
  }
  assert_ids (bk_catalog_unsettled_jobs (catalog, &error), job_id,
              "queued0 preparing0 running0 paused0 finalizing0 completed0 partial0 failed0 cancelled0 "
              "queued1 preparing1 running1 paused1 finalizing1", error);
}
END_TEST

START_TEST (lists_backups_by_their_time)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_repository (catalog, "default");
  sample_add_repository (catalog, "offsite");
  put_backup (catalog, "b3", "web01", "default", 3, NULL);
  put_backup (catalog, "b1", "web01", "offsite", 1, NULL);
  put_backup (catalog, "b2", "web02", "default", 2, NULL);
  put_backup (catalog, "b5", "web01", NULL, 4, NULL);
  put_backup (catalog, "b4", "web01", "default", 4, NULL);
  assert_ids (bk_catalog_list_backups (catalog, NULL, NULL, &error), backup_id, "b1 b2 b3 b4 b5", error);
  assert_ids (bk_catalog_list_backups (catalog, "web01", NULL, &error), backup_id, "b1 b3 b4 b5", error);
  assert_ids (bk_catalog_list_backups (catalog, NULL, "default", &error), backup_id, "b2 b3 b4", error);
  assert_ids (bk_catalog_list_backups (catalog, "web01", "default", &error), backup_id, "b3 b4", error);
  ck_assert (bk_catalog_remove_repository (catalog, "default", &error));
  assert_ids (bk_catalog_list_backups (catalog, NULL, NULL, &error), backup_id, "b1 b5", error);
}
END_TEST

/* --- relations --- */

static void
assert_children (BkCatalog *catalog, const char *id, const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) children = bk_catalog_children_of_backup (catalog, id, &error);
  bk_assert_no_error (error);
  g_autofree char *list = g_strjoinv (" ", children);
  ck_assert_str_eq (list, wanted);
}

START_TEST (knows_the_children_of_a_backup)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_repository (catalog, "default");
  put_backup (catalog, "full", "web01", "default", 1, NULL);
  put_backup (catalog, "late", "web01", "default", 3, "full");
  put_backup (catalog, "inc", "web01", "default", 2, "full");
  put_backup (catalog, "lost", "web01", "default", 4, "unknown");
  assert_children (catalog, "full", "inc late");
  assert_children (catalog, "unknown", "lost");
  assert_children (catalog, "inc", "");
  put_backup (catalog, "late", "web01", "default", 3, "inc"); /* now stands on another */
  assert_children (catalog, "full", "inc");
  assert_children (catalog, "inc", "late");
  put_backup (catalog, "late", "web01", "default", 3, NULL);
  assert_children (catalog, "inc", "");
  ck_assert (bk_catalog_remove_backup (catalog, "inc", &error));
  assert_children (catalog, "full", "");
  ck_assert_ptr_null (bk_catalog_get_backup (catalog, "inc", &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (bk_catalog_remove_backup (catalog, "inc", &error)); /* undo may come twice */
}
END_TEST

START_TEST (removing_a_vm_keeps_its_history)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_vm (catalog, "web01");
  sample_add_vm (catalog, "web02");
  insert_job (catalog, "j1", "web01", "completed", "backup", true);
  put_backup (catalog, "b1", "web01", NULL, 1, NULL);
  put_checkpoint (catalog, "c1", NULL, "web01");
  put_checkpoint (catalog, "c2", NULL, "web02");
  ck_assert (bk_catalog_remove_vm (catalog, "web01", &error));
  assert_ids (bk_catalog_list_vms (catalog, &error), vm_id, "web02", error);
  assert_ids (bk_catalog_list_checkpoints (catalog, NULL, &error), checkpoint_id, "c2", error);
  assert_ids (bk_catalog_list_backups (catalog, "web01", NULL, &error), backup_id, "b1", error);
  assert_jobs (catalog, (BkJobFilter){ .vm = "web01" }, "j1");
}
END_TEST

START_TEST (checkpoints_keep_their_order)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_vm (catalog, "web01");
  sample_add_vm (catalog, "web02");
  put_checkpoint (catalog, "zz", NULL, "web01");
  put_checkpoint (catalog, "mm", NULL, "web02");
  put_checkpoint (catalog, "aa", NULL, "web01");
  assert_ids (bk_catalog_list_checkpoints (catalog, NULL, &error), checkpoint_id, "zz mm aa", error);
  g_autoptr (BkCheckpointInfo) again = sample_checkpoint ("zz", "renamed", "web01", "mm");
  BkCheckpointDisk *disk = again->disks->pdata[0];
  g_free (disk->state);
  disk->state = g_strdup ("committed");
  disk->size = UINT64_MAX;
  ck_assert (bk_catalog_put_checkpoint (catalog, again, &error));
  assert_ids (bk_catalog_list_checkpoints (catalog, "web01", &error), checkpoint_id, "zz aa", error);
  g_autoptr (BkCheckpointInfo) got = bk_catalog_get_checkpoint (catalog, "web01", "renamed", &error);
  sample_assert_equal (&bk_checkpoint_info_struct, got, again);
  ck_assert_uint_eq (((BkCheckpointDisk *)got->disks->pdata[0])->size, UINT64_MAX);
  ck_assert (bk_catalog_remove_checkpoint (catalog, "zz", &error));
  put_checkpoint (catalog, "zz", NULL, "web01");
  assert_ids (bk_catalog_list_checkpoints (catalog, NULL, &error), checkpoint_id, "mm aa zz", error);
}
END_TEST

/* --- changes --- */

START_TEST (a_change_is_all_or_nothing)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_vm (catalog, "web01");
  {
    g_autoptr (BkCatalogChange) change = bk_catalog_begin (catalog, &error);
    put_checkpoint (catalog, "c1", NULL, "web01");
    put_backup (catalog, "b1", "web01", NULL, 1, NULL);
    insert_job (catalog, "j1", "web01", "queued", "backup", false);
    assert_jobs (catalog, (BkJobFilter){ 0 }, "j1");
  }
  assert_jobs (catalog, (BkJobFilter){ 0 }, "");
  assert_ids (bk_catalog_list_checkpoints (catalog, NULL, &error), checkpoint_id, "", error);
  assert_ids (bk_catalog_list_backups (catalog, NULL, NULL, &error), backup_id, "", error);
  g_autoptr (BkCatalogChange) change = bk_catalog_begin (catalog, &error);
  insert_job (catalog, "j2", "web01", "queued", "backup", false);
  put_backup (catalog, "b2", "web01", NULL, 1, NULL);
  ck_assert (bk_catalog_commit (&change, &error));
  ck_assert_ptr_null (change);
  assert_jobs (catalog, (BkJobFilter){ 0 }, "j2");
  assert_ids (bk_catalog_list_backups (catalog, NULL, NULL, &error), backup_id, "b2", error);
}
END_TEST

START_TEST (a_refused_part_leaves_the_rest_of_a_change)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  g_autoptr (BkCatalogChange) change = bk_catalog_begin (catalog, &error);
  put_backup (catalog, "b1", "web01", NULL, 1, NULL);
  g_autoptr (BkBackupInfo) twice = sample_backup ("b2", "web01", NULL, 2, "b1");
  g_ptr_array_add (twice->disks, bk_struct_copy (&bk_backup_disk_struct, twice->disks->pdata[0]));
  ck_assert (!bk_catalog_put_backup (catalog, twice, &error)); /* the row went in before the second "vda" failed */
  bk_assert_error (error, BK_ERROR_CONFLICT);
  ck_assert (bk_catalog_commit (&change, &error));
  assert_ids (bk_catalog_list_backups (catalog, NULL, NULL, &error), backup_id, "b1", error);
  assert_children (catalog, "b1", "");
}
END_TEST

START_TEST (changes_do_not_nest)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  g_autoptr (BkCatalogChange) change = bk_catalog_begin (catalog, &error);
  ck_assert_ptr_null (bk_catalog_begin (catalog, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
  insert_job (catalog, "j1", NULL, "queued", "backup", false);
  ck_assert (bk_catalog_commit (&change, &error));
  g_autoptr (BkCatalogChange) next = bk_catalog_begin (catalog, &error);
  ck_assert_ptr_nonnull (next);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    keeps_all_of_a_job, keeps_all_of_a_backup, keeps_all_of_a_checkpoint, keeps_what_belongs_to_a_vm, records_the_disks_of_a_vm,
    keeps_what_belongs_to_a_repository, refuses_what_it_could_not_read_again, refuses_a_second_of_a_name,
    names_what_there_is, finds_a_job_by_prefix, finds_a_checkpoint_by_id_or_name, lists_by_name,
    lists_jobs_newest_first, lists_a_hundred_jobs_by_default, lists_unsettled_jobs_oldest_first,
    lists_backups_by_their_time, knows_the_children_of_a_backup, removing_a_vm_keeps_its_history,
    checkpoints_keep_their_order, a_change_is_all_or_nothing, a_refused_part_leaves_the_rest_of_a_change,
    changes_do_not_nest, NULL
  };
  return bk_suite_run ("catalog tables", tests);
}
