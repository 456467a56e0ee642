terraform {
  required_version = ">= 1.11" # the tests use override_during, the state S3's own lock file

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  # The state's bucket and region are given to `terraform init -backend-config=...`.
  backend "s3" {
    key          = "quantlake/terraform.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      application = "quantlake"
      managed_by  = "terraform"
    }
  }
}
