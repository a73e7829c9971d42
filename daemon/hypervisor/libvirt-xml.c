/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libvirt-xml.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

#define LONGEST_XML (16 << 20)

G_DEFINE_AUTOPTR_CLEANUP_FUNC (xmlDoc, xmlFreeDoc)

/* --- walking --- */

static bool
is_named (const xmlNode *node, const char *name)
{
  return node->type == XML_ELEMENT_NODE && strcmp ((const char *)node->name, name) == 0;
}

/* The next element of that name from @node on. */
static xmlNode *
next_named (xmlNode *node, const char *name)
{
  while (node && !is_named (node, name))
    node = node->next;
  return node;
}

static xmlNode *
child (xmlNode *node, const char *name)
{
  return node ? next_named (node->children, name) : NULL;
}

/* libxml2's strings are its own to free. (transfer full) */
static char *
own (xmlChar *text)
{
  char *copy = g_strdup ((const char *)text);
  xmlFree (text);
  return copy;
}

static char *
attribute (xmlNode *node, const char *name)
{
  return node ? own (xmlGetProp (node, (const xmlChar *)name)) : NULL;
}

static char *
content (xmlNode *node)
{
  return node ? own (xmlNodeGetContent (node)) : NULL;
}

static bool
attribute_is (xmlNode *node, const char *name, const char *value)
{
  g_autofree char *text = attribute (node, name);
  return g_strcmp0 (text, value) == 0;
}

static uint64_t
number (const char *text)
{
  return text ? g_ascii_strtoull (text, NULL, 10) : 0;
}

static xmlDoc *
parse (const char *text, const char *root, GError **error)
{
  size_t length = strlen (text);
  g_autoptr (xmlDoc) document = length <= LONGEST_XML ? xmlReadMemory (text, (int)length, NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING) : NULL;
  xmlNode *top = document ? xmlDocGetRootElement (document) : NULL;
  if (top && is_named (top, root))
    return g_steal_pointer (&document);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "what libvirt tells is no '%s'", root);
  return NULL;
}

/* --- a domain --- */

static void
disk_free (gpointer data)
{
  BkLibvirtDisk *disk = data;
  g_free (disk->target);
  g_free (disk->device);
  g_free (disk->source_type);
  g_free (disk->source);
  g_free (disk->format);
  g_free (disk->alias);
  g_free (disk->index);
  g_free (disk->iothread);
  g_free (disk);
}

void
bk_libvirt_domain_xml_free (BkLibvirtDomainXml *domain)
{
  if (domain == NULL)
    return;
  g_free (domain->name);
  g_free (domain->uuid);
  g_free (domain->owner);
  g_free (domain->nvram);
  g_ptr_array_unref (domain->disks);
  g_free (domain);
}

static char *
source_of (xmlNode *source)
{
  static const char *const members[] = { "file", "dev", "dir" };
  for (size_t i = 0; source && i < G_N_ELEMENTS (members); i++) {
    char *path = attribute (source, members[i]);
    if (path)
      return path;
  }
  g_autofree char *protocol = attribute (source, "protocol");
  g_autofree char *pool = attribute (source, "pool");
  g_autofree char *name = attribute (source, pool ? "volume" : "name");
  return name ? g_strdup_printf ("%s:%s", pool ? pool : protocol ? protocol : "", name) : NULL;
}

/* Of the controller that a SCSI disk is on. */
static char *
controller_iothread (xmlNode *devices, xmlNode *disk)
{
  xmlNode *address = child (disk, "address");
  g_autofree char *wanted = attribute (address, "controller");
  if (wanted == NULL || !attribute_is (child (disk, "target"), "bus", "scsi"))
    return NULL;
  for (xmlNode *node = child (devices, "controller"); node; node = next_named (node->next, "controller"))
    if (attribute_is (node, "type", "scsi") && attribute_is (node, "index", wanted))
      return attribute (child (node, "driver"), "iothread");
  return NULL;
}

static BkLibvirtDisk *
read_disk (xmlNode *devices, xmlNode *node)
{
  BkLibvirtDisk *disk = g_new0 (BkLibvirtDisk, 1);
  xmlNode *source = child (node, "source");
  xmlNode *driver = child (node, "driver");
  disk->target = attribute (child (node, "target"), "dev");
  disk->device = attribute (node, "device");
  disk->source_type = attribute (node, "type");
  disk->source = source_of (source);
  disk->index = attribute (source, "index");
  disk->format = attribute (driver, "type");
  disk->alias = attribute (child (node, "alias"), "name");
  disk->iothread = attribute (driver, "iothread");
  if (disk->iothread == NULL)
    disk->iothread = controller_iothread (devices, node);
  disk->read_only = child (node, "readonly") != NULL;
  disk->has_backing = child (child (node, "backingStore"), "source") != NULL;
  return disk;
}

static void
read_devices (BkLibvirtDomainXml *domain, xmlNode *devices)
{
  for (xmlNode *node = child (devices, "disk"); node; node = next_named (node->next, "disk")) {
    BkLibvirtDisk *disk = read_disk (devices, node);
    if (disk->target)
      g_ptr_array_add (domain->disks, disk);
    else
      disk_free (disk);
  }
  domain->has_tpm = attribute_is (child (child (devices, "tpm"), "backend"), "type", "emulator");
}

static char *
owner_of (xmlNode *root)
{
  for (xmlNode *node = child (root, "seclabel"); node; node = next_named (node->next, "seclabel"))
    if (attribute_is (node, "model", "dac"))
      return content (child (node, "label"));
  return NULL;
}

BkLibvirtDomainXml *
bk_libvirt_xml_read_domain (const char *text, GError **error)
{
  g_autoptr (xmlDoc) document = parse (text, "domain", error);
  if (document == NULL)
    return NULL;
  xmlNode *root = xmlDocGetRootElement (document);
  BkLibvirtDomainXml *domain = g_new0 (BkLibvirtDomainXml, 1);
  domain->name = content (child (root, "name"));
  domain->uuid = content (child (root, "uuid"));
  domain->owner = owner_of (root);
  domain->nvram = content (child (child (root, "os"), "nvram"));
  domain->disks = g_ptr_array_new_with_free_func (disk_free);
  read_devices (domain, child (root, "devices"));
  return domain;
}

/* --- a checkpoint --- */

static void
checkpoint_disk_free (gpointer data)
{
  BkLibvirtCheckpointDisk *disk = data;
  g_free (disk->disk);
  g_free (disk->bitmap);
  g_free (disk);
}

void
bk_libvirt_checkpoint_xml_free (BkLibvirtCheckpointXml *checkpoint)
{
  if (checkpoint == NULL)
    return;
  g_free (checkpoint->name);
  g_ptr_array_unref (checkpoint->disks);
  g_free (checkpoint);
}

static void
read_checkpoint_disk (BkLibvirtCheckpointXml *checkpoint, xmlNode *node, bool sized)
{
  if (!attribute_is (node, "checkpoint", "bitmap"))
    return;
  g_autofree char *size = attribute (node, "size");
  BkLibvirtCheckpointDisk *disk = g_new0 (BkLibvirtCheckpointDisk, 1);
  disk->disk = attribute (node, "name");
  disk->bitmap = attribute (node, "bitmap");
  if (disk->bitmap == NULL)
    disk->bitmap = g_strdup (checkpoint->name);
  disk->sound = size != NULL || !sized;
  disk->dirty = number (size);
  if (disk->disk)
    g_ptr_array_add (checkpoint->disks, disk);
  else
    checkpoint_disk_free (disk);
}

BkLibvirtCheckpointXml *
bk_libvirt_xml_read_checkpoint (const char *text, bool sized, GError **error)
{
  g_autoptr (xmlDoc) document = parse (text, "domaincheckpoint", error);
  if (document == NULL)
    return NULL;
  xmlNode *root = xmlDocGetRootElement (document);
  g_autofree char *created = content (child (root, "creationTime"));
  BkLibvirtCheckpointXml *checkpoint = g_new0 (BkLibvirtCheckpointXml, 1);
  checkpoint->name = content (child (root, "name"));
  checkpoint->created_at = (int64_t)number (created);
  checkpoint->disks = g_ptr_array_new_with_free_func (checkpoint_disk_free);
  for (xmlNode *node = child (child (root, "disks"), "disk"); node; node = next_named (node->next, "disk"))
    read_checkpoint_disk (checkpoint, node, sized);
  return checkpoint;
}

/* --- a backup job --- */

void
bk_libvirt_backup_xml_free (BkLibvirtBackupXml *backup)
{
  if (backup == NULL)
    return;
  g_free (backup->mode);
  g_free (backup->socket);
  g_hash_table_unref (backup->paths);
  g_free (backup);
}

static void
read_backup_disk (BkLibvirtBackupXml *backup, xmlNode *node)
{
  xmlNode *place = child (node, "target") ? child (node, "target") : child (node, "scratch");
  char *name = attribute (node, "name");
  char *path = source_of (place);
  if (name && !attribute_is (node, "backup", "no")) {
    g_hash_table_insert (backup->paths, name, path ? path : g_strdup (""));
    return;
  }
  g_free (name);
  g_free (path);
}

BkLibvirtBackupXml *
bk_libvirt_xml_read_backup (const char *text, GError **error)
{
  g_autoptr (xmlDoc) document = parse (text, "domainbackup", error);
  if (document == NULL)
    return NULL;
  xmlNode *root = xmlDocGetRootElement (document);
  BkLibvirtBackupXml *backup = g_new0 (BkLibvirtBackupXml, 1);
  backup->mode = attribute (root, "mode");
  backup->socket = attribute (child (root, "server"), "socket");
  backup->paths = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  for (xmlNode *node = child (child (root, "disks"), "disk"); node; node = next_named (node->next, "disk"))
    read_backup_disk (backup, node);
  return backup;
}

/* --- writing --- */

static xmlNode *
add (xmlNode *parent, const char *name)
{
  return xmlNewChild (parent, NULL, (const xmlChar *)name, NULL);
}

static void
set (xmlNode *node, const char *name, const char *value)
{
  xmlSetProp (node, (const xmlChar *)name, (const xmlChar *)value);
}

static void
add_text (xmlNode *parent, const char *name, const char *text)
{
  xmlNewTextChild (parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
}

static xmlDoc *
begin (const char *root)
{
  xmlDoc *document = xmlNewDoc ((const xmlChar *)"1.0");
  xmlDocSetRootElement (document, xmlNewDocNode (document, NULL, (const xmlChar *)root, NULL));
  return document;
}

static char *
end (xmlDoc *document)
{
  xmlChar *text = NULL;
  int length = 0;
  xmlDocDumpFormatMemory (document, &text, &length, 1);
  return own (text);
}

static const BkRunDisk *
planned (const BkRun *run, const char *target)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    if (strcmp (((const BkRunDisk *)run->disks->pdata[i])->name, target) == 0)
      return run->disks->pdata[i];
  return NULL;
}

/* What is left out must be named: libvirt takes a disk along that nobody speaks of. */
static void
leave_out_others (xmlNode *disks, const BkRun *run, const BkLibvirtDomainXml *domain, const char *member)
{
  for (unsigned i = 0; i < domain->disks->len; i++) {
    const BkLibvirtDisk *disk = domain->disks->pdata[i];
    if (planned (run, disk->target))
      continue;
    xmlNode *node = add (disks, "disk");
    set (node, "name", disk->target);
    set (node, member, "no");
  }
}

static bool
is_increment (const BkRunDisk *disk)
{
  return g_strcmp0 (disk->sync, "bitmap") == 0;
}

/* The oldest bitmap has all changes since its checkpoint: later ones record beside it. */
static xmlNode *
add_backup_disk (xmlNode *disks, const BkRunDisk *disk, const char *type)
{
  xmlNode *node = add (disks, "disk");
  set (node, "name", disk->name);
  set (node, "backup", "yes");
  set (node, "type", type);
  set (node, "backupmode", is_increment (disk) ? "incremental" : "full");
  if (is_increment (disk))
    set (node, "incremental", disk->base_bitmaps[0]);
  return node;
}

char *
bk_libvirt_xml_scratch (const BkRun *run, const BkRunDisk *disk, const char *folder)
{
  g_autofree char *name = bk_run_name (run, "s", disk);
  return g_strdup_printf ("%s/%s.qcow2", folder, name);
}

static void
add_server (xmlNode *root, const BkRun *run, const char *socket)
{
  xmlNode *server = add (root, "server");
  if (run->nbd_listen == NULL) {
    set (server, "transport", "unix");
    set (server, "socket", socket);
    return;
  }
  const char *host = run->nbd_listen + strlen ("tcp:");
  const char *colon = strrchr (host, ':');
  g_autofree char *name = g_strndup (host, colon ? (size_t)(colon - host) : strlen (host));
  set (server, "transport", "tcp");
  set (server, "name", name);
  set (server, "port", colon ? colon + 1 : "0");
}

char *
bk_libvirt_xml_pull (const BkRun *run, const BkLibvirtDomainXml *domain, const char *socket, const char *scratch)
{
  g_autoptr (xmlDoc) document = begin ("domainbackup");
  xmlNode *root = xmlDocGetRootElement (document);
  set (root, "mode", "pull");
  add_server (root, run, socket);
  xmlNode *disks = add (root, "disks");
  g_autofree char *bitmap = bk_run_name (run, "inc", NULL);
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    g_autofree char *export = bk_run_name (run, "x", disk);
    g_autofree char *path = bk_libvirt_xml_scratch (run, disk, scratch);
    xmlNode *node = add_backup_disk (disks, disk, "file");
    set (node, "exportname", export);
    if (is_increment (disk))
      set (node, "exportbitmap", bitmap);
    set (add (node, "scratch"), "file", path);
  }
  leave_out_others (disks, run, domain, "backup");
  return end (document);
}

char *
bk_libvirt_xml_push (const BkRun *run, const BkLibvirtDomainXml *domain)
{
  g_autoptr (xmlDoc) document = begin ("domainbackup");
  xmlNode *root = xmlDocGetRootElement (document);
  set (root, "mode", "push");
  xmlNode *disks = add (root, "disks");
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    bool block = strcmp (disk->target_driver, "host_device") == 0;
    xmlNode *node = add_backup_disk (disks, disk, block ? "block" : "file");
    set (add (node, "driver"), "type", disk->target_format);
    set (add (node, "target"), block ? "dev" : "file", disk->target);
  }
  leave_out_others (disks, run, domain, "backup");
  return end (document);
}

char *
bk_libvirt_xml_checkpoint (const BkRun *run, const BkLibvirtDomainXml *domain)
{
  g_autoptr (xmlDoc) document = begin ("domaincheckpoint");
  xmlNode *root = xmlDocGetRootElement (document);
  const char *name = NULL;
  for (unsigned i = 0; i < run->disks->len && name == NULL; i++)
    name = ((const BkRunDisk *)run->disks->pdata[i])->bitmap;
  if (name == NULL)
    return NULL;
  add_text (root, "name", name);
  xmlNode *disks = add (root, "disks");
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    xmlNode *node = add (disks, "disk");
    set (node, "name", disk->name);
    set (node, "checkpoint", disk->bitmap ? "bitmap" : "no");
  }
  leave_out_others (disks, run, domain, "checkpoint");
  return end (document);
}

char *
bk_libvirt_xml_forgotten (const char *name, int64_t created_at, GPtrArray *names)
{
  g_autoptr (xmlDoc) document = begin ("domaincheckpoint");
  xmlNode *root = xmlDocGetRootElement (document);
  g_autofree char *created = g_strdup_printf ("%" G_GINT64_FORMAT, created_at);
  add_text (root, "name", name);
  add_text (root, "creationTime", created);
  xmlNode *disks = add (root, "disks");
  for (unsigned i = 0; i < names->len; i++) {
    xmlNode *node = add (disks, "disk");
    set (node, "name", names->pdata[i]);
    set (node, "checkpoint", "bitmap");
    set (node, "bitmap", name);
  }
  return end (document);
}

/* --- a domain anew --- */

static void
drop (xmlNode *node)
{
  if (node == NULL)
    return;
  xmlUnlinkNode (node);
  xmlFreeNode (node);
}

static void
set_text (xmlNode *parent, const char *name, const char *text)
{
  drop (child (parent, name));
  xmlNode *node = xmlNewTextChild (parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
  xmlUnlinkNode (node);
  if (parent->children)
    xmlAddPrevSibling (parent->children, node);
  else
    xmlAddChild (parent, node);
}

static void
set_disk_file (xmlNode *disk, const char *path, const char *format)
{
  drop (child (disk, "source"));
  drop (child (disk, "backingStore"));
  set (disk, "type", "file");
  set (add (disk, "source"), "file", path);
  xmlNode *driver = child (disk, "driver");
  if (driver == NULL) {
    driver = add (disk, "driver");
    set (driver, "name", "qemu");
  }
  set (driver, "type", format);
}

/* What a backup does not have is not of this machine: a CD's drive stays, empty; a disk goes. */
static void
rewrite_disk (xmlNode *disk, const BkLibvirtRedefinition *how)
{
  g_autofree char *target = attribute (child (disk, "target"), "dev");
  g_autofree char *device = attribute (disk, "device");
  const char *path = target ? g_hash_table_lookup (how->disks, target) : NULL;
  bool removable = g_strcmp0 (device, "cdrom") == 0 || g_strcmp0 (device, "floppy") == 0;
  if (path)
    set_disk_file (disk, path, how->format);
  else if (removable)
    drop (child (disk, "source"));
  else
    drop (disk);
}

static void
rewrite_devices (xmlNode *devices, const BkLibvirtRedefinition *how)
{
  for (xmlNode *node = devices ? devices->children : NULL, *next; node; node = next) {
    next = node->next;
    if (is_named (node, "disk"))
      rewrite_disk (node, how);
    else if (is_named (node, "interface") && !how->keep_identity)
      drop (child (node, "mac"));
  }
}

static void
rewrite_nvram (xmlNode *os, const BkLibvirtRedefinition *how)
{
  xmlNode *nvram = child (os, "nvram");
  if (nvram == NULL)
    return;
  xmlNodeSetContent (nvram, NULL);
  if (how->nvram)
    xmlNodeAddContent (nvram, (const xmlChar *)how->nvram);
  else if (!attribute_is (nvram, "template", NULL))
    return; /* libvirt makes a new one of it */
}

char *
bk_libvirt_xml_redefine (const char *text, const BkLibvirtRedefinition *how, GError **error)
{
  g_autoptr (xmlDoc) document = parse (text, "domain", error);
  if (document == NULL)
    return NULL;
  xmlNode *root = xmlDocGetRootElement (document);
  if (!how->keep_identity)
    drop (child (root, "uuid"));
  set_text (root, "name", how->name);
  rewrite_nvram (child (root, "os"), how);
  rewrite_devices (child (root, "devices"), how);
  return end (document);
}
