module podpass.test/trust

go 1.21
