/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libvirt-calls.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <string.h>

#define CALLS_TIMEOUT_MS 15000
/* libvirt itself waits 30 s for what else is done to a domain. */
#define BEGIN_TIMEOUT_MS 45000
/* It may have to ask QEMU first what it can do. */
#define DEFINE_TIMEOUT_MS 120000

typedef virDomain Domain;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Domain, virDomainFree)
typedef virDomainCheckpoint Checkpoint;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Checkpoint, virDomainCheckpointFree)

static char *
own (char *text)
{
  char *copy = g_strdup (text);
  free (text);
  return copy;
}

static Domain *
lookup (gpointer connection, const BkLibvirtArgs *args, GError **error)
{
  Domain *domain = virDomainLookupByUUIDString (connection, args->domain);
  if (domain == NULL)
    bk_libvirt_set_error (error, "look for the domain");
  return domain;
}

/* --- a domain --- */

static void
domain_clear (BkLibvirtDomain *domain)
{
  g_free (domain->name);
  g_free (domain->uuid);
  g_free (domain->state);
}

void
bk_libvirt_domain_free (BkLibvirtDomain *domain)
{
  if (domain == NULL)
    return;
  domain_clear (domain);
  g_free (domain);
}

static const char *
state_word (int state)
{
  static const char *const words[] = {
    [VIR_DOMAIN_RUNNING] = "running",   [VIR_DOMAIN_BLOCKED] = "running", [VIR_DOMAIN_PAUSED] = "paused",           [VIR_DOMAIN_SHUTDOWN] = "shutdown",
    [VIR_DOMAIN_SHUTOFF] = "shut off", [VIR_DOMAIN_CRASHED] = "crashed", [VIR_DOMAIN_PMSUSPENDED] = "suspended",
  };
  return state > 0 && state < (int)G_N_ELEMENTS (words) ? words[state] : "unknown";
}

static gboolean
fill_domain (BkLibvirtDomain *domain, virDomainPtr handle, GError **error)
{
  char uuid[VIR_UUID_STRING_BUFLEN];
  int state = 0, active = virDomainIsActive (handle), persistent = virDomainIsPersistent (handle);
  if (active < 0 || persistent < 0 || virDomainGetState (handle, &state, NULL, 0) < 0 || virDomainGetUUIDString (handle, uuid) < 0) {
    bk_libvirt_set_error (error, "state of the domain");
    return FALSE;
  }
  domain->name = g_strdup (virDomainGetName (handle));
  domain->uuid = g_strdup (uuid);
  domain->state = g_strdup (state_word (state));
  domain->active = active == 1;
  domain->persistent = persistent == 1;
  return TRUE;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp ((*(BkLibvirtDomain *const *)a)->name, (*(BkLibvirtDomain *const *)b)->name);
}

static gboolean
do_list (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  virDomainPtr *handles = NULL;
  int n = virConnectListAllDomains (connection, &handles, 0);
  if (n < 0) {
    bk_libvirt_set_error (error, "list domains");
    return FALSE;
  }
  GPtrArray *domains = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_libvirt_domain_free);
  for (int i = 0; i < n; i++) {
    BkLibvirtDomain *domain = g_new0 (BkLibvirtDomain, 1);
    /* One that went meanwhile is not there. */
    if (fill_domain (domain, handles[i], NULL))
      g_ptr_array_add (domains, domain);
    else
      bk_libvirt_domain_free (domain);
    virDomainFree (handles[i]);
  }
  free (handles);
  g_ptr_array_sort (domains, compare_names);
  args->result = domains;
  return TRUE;
}

GPtrArray *
bk_libvirt_list_domains (BkLibvirtLink *link, GCancellable *cancellable, GError **error)
{
  const BkLibvirtArgs args = { .free_result = (GDestroyNotify)g_ptr_array_unref };
  gpointer result = NULL;
  return bk_libvirt_link_call (link, "list domains", do_list, &args, &result, CALLS_TIMEOUT_MS, cancellable, error) ? result : NULL;
}

static gboolean
do_get_domain (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  g_autoptr (Domain) handle = lookup (connection, args, error);
  g_autoptr (BkLibvirtDomain) domain = g_new0 (BkLibvirtDomain, 1);
  if (handle == NULL || !fill_domain (domain, handle, error))
    return FALSE;
  args->result = g_steal_pointer (&domain);
  return TRUE;
}

BkLibvirtDomain *
bk_libvirt_get_domain (BkLibvirtLink *link, const char *uuid, GCancellable *cancellable, GError **error)
{
  const BkLibvirtArgs args = { .domain = (char *)uuid, .free_result = (GDestroyNotify)bk_libvirt_domain_free };
  gpointer result = NULL;
  return bk_libvirt_link_call (link, "state of the domain", do_get_domain, &args, &result, CALLS_TIMEOUT_MS, cancellable, error) ? result : NULL;
}

/* --- all of it --- */

void
bk_libvirt_look_free (BkLibvirtLook *look)
{
  if (look == NULL)
    return;
  domain_clear (&look->domain);
  bk_libvirt_domain_xml_free (look->xml);
  g_clear_pointer (&look->checkpoints, g_ptr_array_unref);
  bk_libvirt_backup_xml_free (look->backup);
  g_free (look->job);
  g_free (look);
}

static void
add_sizes (virDomainPtr handle, BkLibvirtDomainXml *xml)
{
  for (unsigned i = 0; i < xml->disks->len; i++) {
    BkLibvirtDisk *disk = xml->disks->pdata[i];
    virDomainBlockInfo info;
    if (disk->source && virDomainGetBlockInfo (handle, disk->target, &info, 0) == 0)
      disk->size = info.capacity;
  }
}

static gboolean
read_xml (BkLibvirtLook *look, virDomainPtr handle, GError **error)
{
  g_autofree char *text = own (virDomainGetXMLDesc (handle, 0));
  if (text == NULL) {
    bk_libvirt_set_error (error, "definition of the domain");
    return FALSE;
  }
  look->xml = bk_libvirt_xml_read_domain (text, error);
  if (look->xml)
    add_sizes (handle, look->xml);
  return look->xml != NULL;
}

/* Sizes are told by QEMU, and of sound bitmaps only. */
static BkLibvirtCheckpointXml *
read_checkpoint (virDomainCheckpointPtr handle, bool active, GError **error)
{
  char *text = active ? virDomainCheckpointGetXMLDesc (handle, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN | VIR_DOMAIN_CHECKPOINT_XML_SIZE) : NULL;
  bool sized = active;
  if (text == NULL)
    text = virDomainCheckpointGetXMLDesc (handle, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN);
  g_autofree char *copy = own (text);
  if (copy)
    return bk_libvirt_xml_read_checkpoint (copy, sized, error);
  bk_libvirt_set_error (error, "read a checkpoint");
  return NULL;
}

static int
compare_ages (gconstpointer a, gconstpointer b)
{
  const BkLibvirtCheckpointXml *one = *(BkLibvirtCheckpointXml *const *)a, *other = *(BkLibvirtCheckpointXml *const *)b;
  return one->created_at < other->created_at ? -1 : one->created_at > other->created_at;
}

static gboolean
read_checkpoints (BkLibvirtLook *look, virDomainPtr handle, GError **error)
{
  virDomainCheckpointPtr *handles = NULL;
  int n = virDomainListAllCheckpoints (handle, &handles, VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL);
  look->checkpoints = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_libvirt_checkpoint_xml_free);
  if (n < 0) {
    bk_libvirt_set_error (error, "list checkpoints");
    return FALSE;
  }
  for (int i = 0; i < n; i++) {
    g_autoptr (GError) failure = NULL;
    BkLibvirtCheckpointXml *checkpoint = read_checkpoint (handles[i], look->domain.active, &failure);
    if (checkpoint)
      g_ptr_array_add (look->checkpoints, checkpoint);
    else
      g_debug ("checkpoint: %s", failure->message);
    virDomainCheckpointFree (handles[i]);
  }
  free (handles);
  g_ptr_array_sort (look->checkpoints, compare_ages);
  return TRUE;
}

/* *@backup is NULL when there is none. */
static gboolean
read_backup (virDomainPtr handle, BkLibvirtBackupXml **backup, GError **error)
{
  g_autofree char *text = own (virDomainBackupGetXMLDesc (handle, 0));
  if (text)
    *backup = bk_libvirt_xml_read_backup (text, error);
  else if (virGetLastErrorCode () != VIR_ERR_NO_DOMAIN_BACKUP)
    bk_libvirt_set_error (error, "state of the backup");
  return *backup != NULL || virGetLastErrorCode () == VIR_ERR_NO_DOMAIN_BACKUP;
}

static bool
has_job (virDomainPtr handle)
{
  virDomainJobInfo info = { 0 };
  return virDomainGetJobInfo (handle, &info) == 0 && info.type != VIR_DOMAIN_JOB_NONE;
}

static char *
other_job (virDomainPtr handle)
{
  if (!has_job (handle))
    return NULL;
  return g_strdup ("a job of libvirt ('virsh domjobinfo' tells of it)");
}

static gboolean
do_look (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  g_autoptr (Domain) handle = lookup (connection, args, error);
  g_autoptr (BkLibvirtLook) look = g_new0 (BkLibvirtLook, 1);
  if (handle == NULL || !fill_domain (&look->domain, handle, error) || !read_xml (look, handle, error) || !read_checkpoints (look, handle, error))
    return FALSE;
  if (look->domain.active && !read_backup (handle, &look->backup, error))
    return FALSE;
  look->job = look->domain.active && look->backup == NULL ? other_job (handle) : NULL;
  args->result = g_steal_pointer (&look);
  return TRUE;
}

BkLibvirtLook *
bk_libvirt_look (BkLibvirtLink *link, const char *uuid, GCancellable *cancellable, GError **error)
{
  const BkLibvirtArgs args = { .domain = (char *)uuid, .free_result = (GDestroyNotify)bk_libvirt_look_free };
  gpointer result = NULL;
  return bk_libvirt_link_call (link, "look at the domain", do_look, &args, &result, CALLS_TIMEOUT_MS, cancellable, error) ? result : NULL;
}

/* --- definitions --- */

static gboolean
do_get_definition (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  g_autoptr (Domain) handle = lookup (connection, args, error);
  if (handle == NULL)
    return FALSE;
  args->result = own (virDomainGetXMLDesc (handle, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE));
  if (args->result == NULL)
    bk_libvirt_set_error (error, "definition of the domain");
  return args->result != NULL;
}

char *
bk_libvirt_get_definition (BkLibvirtLink *link, const char *uuid, GError **error)
{
  const BkLibvirtArgs args = { .domain = (char *)uuid, .free_result = g_free };
  gpointer result = NULL;
  return bk_libvirt_link_call (link, "definition of the domain", do_get_definition, &args, &result, CALLS_TIMEOUT_MS, NULL, error) ? result : NULL;
}

static gboolean
do_define (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  g_autoptr (Domain) known = virDomainLookupByName (connection, args->domain);
  if (known) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "there is a domain '%s' already; choose another name, or undefine it first", args->domain);
    return FALSE;
  }
  g_autoptr (Domain) handle = virDomainDefineXMLFlags (connection, args->text, 0);
  char uuid[VIR_UUID_STRING_BUFLEN];
  if (handle == NULL || virDomainGetUUIDString (handle, uuid) < 0) {
    bk_libvirt_set_error (error, "define the domain");
    return FALSE;
  }
  args->result = g_strdup (uuid);
  return TRUE;
}

char *
bk_libvirt_define (BkLibvirtLink *link, const char *name, const char *xml, GError **error)
{
  const BkLibvirtArgs args = { .domain = (char *)name, .text = (char *)xml, .free_result = g_free };
  gpointer result = NULL;
  return bk_libvirt_link_call (link, "define the domain", do_define, &args, &result, DEFINE_TIMEOUT_MS, NULL, error) ? result : NULL;
}

/* --- backup jobs --- */

static gboolean
do_backup_begin (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  g_autoptr (Domain) handle = lookup (connection, args, error);
  if (handle == NULL)
    return FALSE;
  if (virDomainBackupBegin (handle, args->text, args->more, args->flags) == 0)
    return TRUE;
  bk_libvirt_set_error (error, "begin a backup");
  return FALSE;
}

gboolean
bk_libvirt_backup_begin (BkLibvirtLink *link, const char *uuid, const char *backup, const char *checkpoint, bool reuse, GCancellable *cancellable,
                         GError **error)
{
  const BkLibvirtArgs args = {
    .domain = (char *)uuid, .text = (char *)backup, .more = (char *)checkpoint, .flags = reuse ? VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL : 0
  };
  return bk_libvirt_link_call (link, "begin a backup", do_backup_begin, &args, NULL, BEGIN_TIMEOUT_MS, cancellable, error);
}

void
bk_libvirt_job_free (BkLibvirtJob *job)
{
  if (job == NULL)
    return;
  bk_libvirt_backup_xml_free (job->backup);
  g_hash_table_unref (job->progress);
  g_free (job->failure);
  g_free (job);
}

static void
add_progress (BkLibvirtJob *job, virDomainPtr handle)
{
  GHashTableIter iter;
  gpointer disk;
  g_hash_table_iter_init (&iter, job->backup->paths);
  while (g_hash_table_iter_next (&iter, &disk, NULL)) {
    virDomainBlockJobInfo info = { 0 };
    if (virDomainGetBlockJobInfo (handle, disk, &info, VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES) != 1)
      continue;
    BkLibvirtProgress *progress = g_new (BkLibvirtProgress, 1);
    *progress = (BkLibvirtProgress){ info.cur, info.end };
    g_hash_table_insert (job->progress, g_strdup (disk), progress);
  }
}

static void
read_outcome (BkLibvirtJob *job, virDomainPtr handle)
{
  virTypedParameterPtr parameters = NULL;
  int n = 0, type = 0, operation = 0, success = 0;
  const char *message = NULL;
  if (virDomainGetJobStats (handle, &type, &parameters, &n, VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED) < 0)
    return;
  virTypedParamsGetInt (parameters, n, VIR_DOMAIN_JOB_OPERATION, &operation);
  virTypedParamsGetBoolean (parameters, n, VIR_DOMAIN_JOB_SUCCESS, &success);
  virTypedParamsGetString (parameters, n, VIR_DOMAIN_JOB_ERRMSG, &message);
  bool was_backup = type != VIR_DOMAIN_JOB_NONE && operation == VIR_DOMAIN_JOB_OPERATION_BACKUP;
  job->ended_well = was_backup && success;
  if (was_backup && !success)
    job->failure = g_strdup (message ? message : "it was cancelled");
  virTypedParamsFree (parameters, n);
}

static gboolean
do_get_job (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  g_autoptr (Domain) handle = lookup (connection, args, error);
  int active = handle ? virDomainIsActive (handle) : -1;
  if (active < 0) {
    if (handle)
      bk_libvirt_set_error (error, "state of the domain");
    return FALSE;
  }
  g_autoptr (BkLibvirtJob) job = g_new0 (BkLibvirtJob, 1);
  job->progress = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  job->active = active == 1;
  if (job->active && !read_backup (handle, &job->backup, error))
    return FALSE;
  if (job->backup && g_strcmp0 (job->backup->mode, "push") == 0)
    add_progress (job, handle);
  else if (job->backup == NULL)
    read_outcome (job, handle);
  job->busy = job->backup != NULL || (job->active && has_job (handle));
  args->result = g_steal_pointer (&job);
  return TRUE;
}

BkLibvirtJob *
bk_libvirt_get_job (BkLibvirtLink *link, const char *uuid, GCancellable *cancellable, GError **error)
{
  const BkLibvirtArgs args = { .domain = (char *)uuid, .free_result = (GDestroyNotify)bk_libvirt_job_free };
  gpointer result = NULL;
  return bk_libvirt_link_call (link, "state of the backup", do_get_job, &args, &result, CALLS_TIMEOUT_MS, cancellable, error) ? result : NULL;
}

static gboolean
do_abort (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  g_autoptr (Domain) handle = lookup (connection, args, error);
  if (handle == NULL)
    return FALSE;
  if (virDomainAbortJob (handle) == 0)
    return TRUE;
  bk_libvirt_set_error (error, "end the backup");
  return FALSE;
}

gboolean
bk_libvirt_abort_job (BkLibvirtLink *link, const char *uuid, GError **error)
{
  const BkLibvirtArgs args = { .domain = (char *)uuid };
  return bk_libvirt_link_call (link, "end the backup", do_abort, &args, NULL, CALLS_TIMEOUT_MS, NULL, error);
}

static gboolean
do_set_speed (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  g_autoptr (Domain) handle = lookup (connection, args, error);
  if (handle == NULL)
    return FALSE;
  if (virDomainBlockJobSetSpeed (handle, args->text, args->number, VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES) < 0 && virDomainIsActive (handle) < 0) {
    bk_libvirt_set_error (error, "set the speed");
    return FALSE;
  }
  return TRUE;
}

gboolean
bk_libvirt_set_speed (BkLibvirtLink *link, const char *uuid, const char *disk, uint64_t speed, GError **error)
{
  const BkLibvirtArgs args = { .domain = (char *)uuid, .text = (char *)disk, .number = speed };
  return bk_libvirt_link_call (link, "set the speed", do_set_speed, &args, NULL, CALLS_TIMEOUT_MS, NULL, error);
}

/* --- checkpoints --- */

static gboolean
do_checkpoint_create (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  g_autoptr (Domain) handle = lookup (connection, args, error);
  if (handle == NULL)
    return FALSE;
  g_autoptr (Checkpoint) checkpoint = virDomainCheckpointCreateXML (handle, args->text, args->flags);
  if (checkpoint == NULL)
    bk_libvirt_set_error (error, "make the checkpoint");
  return checkpoint != NULL;
}

gboolean
bk_libvirt_checkpoint_create (BkLibvirtLink *link, const char *uuid, const char *xml, GError **error)
{
  const BkLibvirtArgs args = { .domain = (char *)uuid, .text = (char *)xml };
  return bk_libvirt_link_call (link, "make the checkpoint", do_checkpoint_create, &args, NULL, BEGIN_TIMEOUT_MS, NULL, error);
}

gboolean
bk_libvirt_checkpoint_redefine (BkLibvirtLink *link, const char *uuid, const char *xml, GCancellable *cancellable, GError **error)
{
  const BkLibvirtArgs args = {
    .domain = (char *)uuid, .text = (char *)xml, .flags = VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE | VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE
  };
  return bk_libvirt_link_call (link, "make the checkpoint known again", do_checkpoint_create, &args, NULL, CALLS_TIMEOUT_MS, cancellable, error);
}

static gboolean
do_checkpoint_delete (gpointer connection, BkLibvirtArgs *args, GError **error)
{
  g_autoptr (Domain) handle = lookup (connection, args, error);
  g_autoptr (Checkpoint) checkpoint = handle ? virDomainCheckpointLookupByName (handle, args->text, 0) : NULL;
  if (handle == NULL)
    return FALSE;
  if (checkpoint && virDomainCheckpointDelete (checkpoint, 0) == 0)
    return TRUE;
  bk_libvirt_set_error (error, "delete the checkpoint");
  return FALSE;
}

gboolean
bk_libvirt_checkpoint_delete (BkLibvirtLink *link, const char *uuid, const char *name, GError **error)
{
  const BkLibvirtArgs args = { .domain = (char *)uuid, .text = (char *)name };
  return bk_libvirt_link_call (link, "delete the checkpoint", do_checkpoint_delete, &args, NULL, BEGIN_TIMEOUT_MS, NULL, error);
}
